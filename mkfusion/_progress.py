"""The progress bar: a widget where a notebook can show one, else a line of text."""

import warnings

with warnings.catch_warnings():
    # In a notebook without ipywidgets tqdm says so on import, and falls back to text.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
