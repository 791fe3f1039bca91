"""Small PDFs for tests, written byte by byte: with text, without, locked, broken."""

import io
import zlib

from pypdf import PdfReader, PdfWriter


def pdf(*pages: str) -> bytes:
    """Return a PDF with the lines of each page in Helvetica; an empty page has no text at all."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for page in pages:
        lines = "".join(f"({_escaped(line)}) Tj T* " for line in page.splitlines())
        drawing = f"BT /F1 12 Tf 14 TL 72 720 Td {lines}ET" if page else "0 0 m 9 9 l S"
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> "
            ">> >>"
        )
        objects.append(f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream")
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(kids)}] >>"
    return _assembled([each.encode("latin-1") for each in objects])


def locked(content: bytes, password: str) -> bytes:
    """Return a PDF that opens with the password alone."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def bomb(megabytes: int) -> bytes:
    """Return a small PDF whose only page unpacks into so much."""
    drawing = zlib.compress(b"BT (" + b"a" * megabytes * 1_000_000 + b") Tj ET", 9)
    head = b"<< /Filter /FlateDecode /Length %d >>\nstream\n" % len(drawing)
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font "
        b"<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
    )
    pages = b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>"
    catalogue = b"<< /Type /Catalog /Pages 2 0 R >>"
    return _assembled([catalogue, pages, page, head + drawing + b"\nendstream"])


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _assembled(objects: list[bytes]) -> bytes:
    out = b"%PDF-1.4\n"
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table)
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)
