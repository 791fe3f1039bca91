"""Which documents the arguments of `penstock ingest` name, and what each is called.

A file is known by its path below the directory in which the command runs, elsewhere by its whole
path, so the same file has the same name however it is typed. Links inside folders are not followed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.cli import output
from services.runtime.text import clean

SUFFIXES: Final = frozenset(
    {
        *("", ".txt", ".text", ".md", ".markdown", ".mdx", ".rst", ".org", ".adoc", ".pdf"),
        *(".html", ".htm", ".xhtml", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml"),
        *(".toml", ".log"),
    }
)
"""What is taken from a folder; a file that is named is always tried."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file to hand in."""

    path: Path
    name: str


def found(paths: Sequence[Path]) -> tuple[list[Found], str]:
    """Return the files, each once, in order, and what was left out of folders, as people say it.

    Raises:
        FileNotFoundError: a path is not there.
    """
    here = Path.cwd().resolve()
    files: dict[Path, Found] = {}
    skipped: Counter[str] = Counter()
    for given in paths:
        path = given.expanduser().resolve(strict=True)
        for file in _below(path, skipped) if path.is_dir() else (path,):
            files.setdefault(file, Found(file, _name(file, here)))
    left_out = ", ".join(
        f"{output.plural(number, 'file')} {suffix}" for suffix, number in sorted(skipped.items())
    )
    return list(files.values()), left_out


def _below(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _below(entry, skipped)
        elif entry.is_file():
            if entry.suffix.lower() in SUFFIXES:
                yield entry
            else:
                skipped[entry.suffix.lower()] += 1


def _name(file: Path, here: Path) -> str:
    known = file.relative_to(here if file.is_relative_to(here) else file.anchor)
    return clean(str(known))
