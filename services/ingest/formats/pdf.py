"""PDF: the text of each page."""

import io
import logging
from typing import Final

from services.ingest.chunking import Heading, Text
from services.ingest.formats.plain import lines_to_text
from services.ingest.passage import Unreadable

ENCRYPTED: Final = Unreadable(
    reason="encrypted",
    detail="it is protected by a password: save it without one, then hand it in again",
)
NO_TEXT: Final = Unreadable(
    reason="no_text",
    detail="its pages are pictures without text: run text recognition (OCR) over it first",
)
DAMAGED: Final = "it cannot be read as PDF ({}): open it and save it anew, then hand it in again"


def text_of(content: bytes) -> Text | Unreadable:
    """Return the text of a PDF; each page is a section."""
    from pypdf import PdfReader  # noqa: PLC0415 - only where there is a PDF
    from pypdf.errors import DependencyError, FileNotDecryptedError  # noqa: PLC0415 - likewise

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells what it repairs
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            return ENCRYPTED
        pages = [page.extract_text() for page in reader.pages]
    except (DependencyError, FileNotDecryptedError):
        return ENCRYPTED  # with a method that takes a library which we do not have
    except MemoryError:
        raise
    except RecursionError:
        return Unreadable(reason="damaged", detail=DAMAGED.format("its parts contain each other"))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is wrong with the file
        return Unreadable(reason="damaged", detail=DAMAGED.format(type(error).__name__))
    return _joined(pages)


def _joined(pages: list[str]) -> Text | Unreadable:
    parts: list[str] = []
    headings: list[Heading] = []
    at = 0
    for number, page in enumerate(pages, start=1):
        text = lines_to_text(page.splitlines()).text.strip("\n")
        if not text.strip():
            continue
        headings.append(Heading(at, 1, f"page {number}"))
        parts.append(text)
        at += len(text) + 2
    return Text("\n\n".join(parts), headings) if parts else NO_TEXT
