"""Laws over the source: specs and stores are data; what executes or unpickles is on a short list, with its reason."""

import ast
import re

import pytest

from tests.paths import REPOSITORY

PACKAGES = ("cluster", "dkvb", "jobs", "store")
FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
FILES.append(REPOSITORY / "dkvb_unlearning.py")

FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle",
    "cloudpickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "subprocess",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.load",
    "numpy.load",
    "np.load",
    "runpy",
    "importlib.import_module",
    "importlib.reload",
}
"""Names that run what they are given, or unpickle it."""

ALLOWED = {
    ("cluster/unit_map.py", "cloudpickle"): "our own factory, on its way to our own workers",
    ("cluster/units.py", "cloudpickle"): "the same factory, and the worker's own exception on its way back",
    ("store/cifar.py", "pickle"): "published checksums, and an unpickler that knows arrays alone",
    ("jobs/provenance.py", "subprocess"): "git, a list of fixed words",
    (
        "cluster/files/kubectl.py",
        "subprocess",
    ): "kubectl, which the user asked for: fixed words; the object goes to its input",
    ("dkvb/weights.py", "torch.load"): "with weights_only=True",
}

ENVIRONMENT = {
    "cluster/address.py": "the token's mode and place; sets variables for Ray and puts them back",
    "cluster/private.py": "where Ray keeps the folders of its sessions",
    "cluster/session.py": "the cluster's address and the token's mode",
    "cluster/submit.py": "the job server's address",
    "dkvb_unlearning.py": "PYTHONPATH",
    "jobs/cli/completing.py": "which shell asks",
    "jobs/provenance.py": "DKVB_COMMIT",
    "jobs/queue/service.py": "what a unit is given: where the token lies, region and endpoint of the store",
    "jobs/worker.py": "OMP_NUM_THREADS",
}
"""Who reads the environment, and what for; none of it as a whole."""


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute or a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def named(tree: ast.AST) -> set[str]:
    """Every name, dotted name and part of a module's name that a file uses."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute):
            found |= {dotted(node)}
        elif isinstance(node, ast.Name):
            found |= {node.id}
    return found


def trees() -> list[tuple[str, ast.AST]]:
    return [(str(path.relative_to(REPOSITORY)), ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]


def test_what_executes_or_unpickles_is_on_the_list():
    found = {(name, word) for name, tree in trees() for word in named(tree) & FORBIDDEN}
    assert found == set(ALLOWED), "a new one needs a reason; one that is gone leaves the list"


@pytest.mark.parametrize(
    "code",
    ["eval('1')", "import pickle", "from pickle import loads", "import ray.cloudpickle", "np.load(x)", "os.system(x)"],
)
def test_the_law_sees_each_way_of_saying_it(code):
    assert named(ast.parse(code)) & FORBIDDEN


def keywords(name: str) -> list[tuple[str, ast.Call]]:
    """Calls that give a keyword of that name."""
    calls = [(path, node) for path, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(path, call) for path, call in calls if any(word.arg == name for word in call.keywords)]


@pytest.mark.parametrize("name", ["shell", "allow_pickle", "trust_remote_code"])
def test_a_dangerous_keyword_is_given_nowhere(name):
    assert keywords(name) == []


def test_templates_escape_all_but_the_page_s_own_files():
    made = [(path, node) for path, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    environments = [call for _, call in made if dotted(call.func).endswith("Environment")]
    escaped = [
        ast.unparse(word.value)
        for _, call in keywords("autoescape")
        for word in call.keywords
        if word.arg == "autoescape"
    ]
    assert escaped == ["True"] * len(environments) == ["True"]
    unescaped = [(path, ast.unparse(call)) for path, call in made if dotted(call.func).endswith("Markup")]
    own = ("Markup(style)", "Markup(script)", "Markup(embedded(data))")
    assert unescaped == [("jobs/report/page.py", text) for text in own]
    templates = [path.read_text(encoding="utf-8") for path in REPOSITORY.glob("jobs/report/templates/*.j2")]
    assert len(templates) == 2
    assert not [text for text in templates if re.search(r"\|\s*safe|autoescape", text)]


def test_tensors_are_loaded_with_weights_only():
    loads = [
        node
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load"
    ]
    assert loads
    for call in loads:
        assert {word.arg: ast.unparse(word.value) for word in call.keywords}["weights_only"] == "True"


def test_yaml_is_read_by_the_safe_loader_alone():
    used = {word for _, tree in trees() for word in named(tree) if word.startswith("yaml.") and "oad" in word}
    assert used <= {"yaml.CSafeLoader", "yaml.SafeLoader", "yaml.safe_load", "yaml.safe_load_all"}


def test_the_environment_is_read_variable_by_variable():
    for name, tree in trees():
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and dotted(node) == "os.environ"]
        assert not uses or name in ENVIRONMENT, name
        parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for use in uses:
            parent = parents[id(use)]
            assert isinstance(parent, ast.Attribute | ast.Subscript), f"{name}:{use.lineno}: the environment as a whole"
