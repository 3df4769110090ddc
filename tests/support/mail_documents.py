"""Random messages of any structure, and the words that a mail program shows of them."""

from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from random import Random

from tests.support.judged_documents import JudgedDocument

_CHARSETS = ("utf-8", "iso-8859-1", "windows-1252", "utf-16")
_MOST_NESTED = 2


@dataclass
class _Writer:
    random: Random
    count: int = 0
    files: int = 0
    attached: list[list[str]] = field(default_factory=lambda: [[]])

    def words(self, into: list[str]) -> str:
        written = []
        for _ in range(self.random.randint(1, 4)):
            self.count += 1
            into.append(f"q{self.count}z")
            written.append(into[-1])
        return " ".join(written)

    def prose(self, into: list[str]) -> str:
        return "\n\n".join(
            f"{self.words(into)} Grüße, {self.words(into)}."
            for _ in range(self.random.randint(1, 3))
        )

    def text(self, into: list[str], *, html: bool) -> MIMEText:
        written = self.prose(into)
        if html:
            paragraphs = "".join(f"<p>{one}</p>" for one in written.split("\n\n"))
            written = (
                f"<html><head><title>q0h</title><style>q0h</style></head><body>{paragraphs}"
                "<div hidden>q0h</div><script>q0h</script><img alt='' src='cid:1'></body></html>"
            )
        charset = self.random.choice(_CHARSETS)
        return MIMEText(written, "html" if html else "plain", charset)

    def body(self, into: list[str]) -> MIMEBase:
        """One text, or several in the structures of mail programs."""
        kind = self.random.choice(["plain", "html", "alternative", "related", "mixed", "deep"])
        if kind in ("plain", "html"):
            return self.text(into, html=kind == "html")
        if kind == "mixed":
            whole = self.multipart("mixed")
            for _ in range(self.random.randint(1, 3)):
                whole.attach(self.text(into, html=self.random.random() < 0.5))
            return whole
        if kind == "related":
            return self.related(into)
        whole = self.multipart("alternative")
        whole.attach(MIMEText("q0h q0h", "plain", "utf-8"))
        whole.attach(self.related(into) if kind == "deep" else self.text(into, html=True))
        return whole

    def related(self, into: list[str]) -> MIMEMultipart:
        whole = self.multipart("related")
        whole.attach(self.text(into, html=True))
        picture = MIMEImage(b"\x89PNG\r\n\x1a\nq0h", "png")
        picture["Content-ID"] = "<1>"
        whole.attach(picture)
        return whole

    def multipart(self, kind: str) -> MIMEMultipart:
        whole = MIMEMultipart(kind)
        whole.preamble = self.random.choice([None, "q0h: your program cannot show this message"])
        whole.epilogue = self.random.choice([None, "q0h"])
        return whole

    def attachment(self, into: list[str], depth: int) -> MIMEBase:
        """A text, a page, a table or a message, as an attached file."""
        self.files += 1
        kind = self.random.choice(["txt", "html", "csv", "eml", "octets", "signature"])
        if kind == "signature":
            return MIMEApplication(b"q0h", "pgp-signature")
        if kind == "eml" and depth < _MOST_NESTED:
            return MIMEMessage(self.message(into, depth + 1))
        if kind == "csv":
            lines = f"name,{self.words(into)}\nother,{self.words(into)}\n"
            part: MIMEBase = MIMEText(lines, "csv", "utf-8")
        elif kind == "octets":
            part = MIMEApplication(f"{self.words(into)}\n".encode())
        else:
            part = self.text(into, html=kind == "html")
        ending = "txt" if kind in ("octets", "eml") else kind
        part.add_header(
            "Content-Disposition", "attachment", filename=f"Datei {self.files}.{ending}"
        )
        return part

    def message(self, into: list[str], depth: int) -> MIMEBase:
        heads: list[str] = []
        # The subject of an attached message is also its name, so its words would be there twice.
        subject = self.words(heads) if depth == 0 else f"Rückfrage {self.files}"
        sender = str(Address(f"Zoë {self.words(heads)}", "a", "example.org"))
        to = f"=?utf-8?q?{self.words(heads).replace(' ', '_')}_=C3=A9?= <b@example.org>"
        text: list[str] = []
        whole = self.body(text)
        files: list[str] = []
        count = self.random.choice([0, 0, 1, 2])
        if count:
            mixed = self.multipart("mixed")
            mixed.attach(whole)
            for _ in range(count):
                mixed.attach(self.attachment(files, depth))
            whole = mixed
        whole["Subject"], whole["X-Mailer"] = subject, "q0h"
        whole["Received"] = "from q0h by q0h; Mon, 1 Jan 2024 10:00:00 +0000"
        whole["From"], whole["To"] = sender, to
        into.extend([*heads, *text, *files])
        return whole


def random_mail(random: Random) -> JudgedDocument:
    """A message with texts in several forms, and attached files."""
    shown: list[str] = []
    whole = _Writer(random).message(shown, 0)
    assert not isinstance(whole, EmailMessage)  # the old classes write structures as they are told
    return JudgedDocument(whole.as_bytes(), shown)
