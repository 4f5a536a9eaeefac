"""What an experiment hands out: artefacts that are done, and a word about those that are not."""

import pytest

from store.errors import ArtefactDamaged
from tests.tiny import unfinish

ASKING = {
    "query": ("counts", ("query", "{root}", "keys", "cat")),
    "measure": ("codes[train]", ("measure", "{root}", "{mask}", "--class", "cat")),
    "why": ("embeddings[test]", ("query", "{root}", "why", "ant", "--forgot", "cat")),
    "unlearn": ("neighbours[test]", ("unlearn", "{root}", "--class", "cat")),
    "table": ("sweep", ("table", "{root}")),
    "figure": ("sweep", ("figure", "{root}", "--kind", "misses")),
}


@pytest.mark.parametrize("case", ASKING)
def test_a_step_that_lost_its_done_is_refused_with_the_same_words_everywhere(case, dkvb, own):
    label, words = ASKING[case]
    assert dkvb("unlearn", own.root, "--class", "cat", "--mask-only").code == 0
    (mask,) = (own.root / "unlearned").iterdir()
    artefact = own.artefact(label)
    (artefact.path / "DONE").unlink()
    said = f"{artefact.path / 'DONE'}: is missing, or was not yet written when a run ended"
    with pytest.raises(ArtefactDamaged) as refused:
        own.artefact(label)
    assert str(refused.value).startswith(said)
    ended = dkvb(*(word.format(root=own.root, mask=mask.name) for word in words))
    assert ended.code == 1
    assert said in ended.err


def test_a_step_that_was_never_closed_is_not_damaged(dkvb, own):
    unfinish(own.artefact("counts"))
    ended = dkvb("query", own.root, "keys", "cat")
    assert ended.code == 2
    assert "step counts is not finished" in ended.err
