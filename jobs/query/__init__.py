"""Questions to what a run left behind: pairs, classes, masks, items. No torch is loaded to answer most of them."""
