"""HTML and Markdown."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from lxml import etree  # type: ignore[import-untyped]  # ships no types
from lxml import html as lxml_html
from unstructured.documents.elements import Text
from unstructured.partition.html import parser as html_parser
from unstructured.partition.html import partition_html

from docmill.worker.extraction.child.encodings import decode
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.markdown_bounds import html_of
from docmill.worker.extraction.child.kinds.markup import make_plain, unwrap
from docmill.worker.extraction.child.kinds.partitioned import NO_LANGUAGES, elements_of
from docmill.worker.extraction.child.kinds.shortcuts import bare
from docmill.worker.models import Element

_TOO_DEEP = etree.ErrorTypes.ERR_RESOURCE_LIMIT
#: Tags that are only containers.
_CONTAINERS = re.compile(
    r"</?(?:div|span|section|article|main|aside|nav|center|font|blockquote|ul|ol|dl|b|i|em|strong)"
    r"\b[^<>]{0,2000}>",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    r"""([^\s=>/"']+)(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s>"'][^\s>]*))?""",
)
#: A tag with so many attributes that libxml2, which compares each with each, would take minutes.
_MANY_ATTRIBUTES = re.compile(
    r"""(<[a-zA-Z][^\s>/]*+)(?:[\s/]++[^\s=>/"']++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+))?){500,}+""",
)
_READ_ATTRIBUTES = frozenset(
    """alt alttext aria-controls charset class colspan content hidden href hreflang http-equiv id
    name open role rowspan src type value""".split()  # noqa: SIM905 -- would take a page
)
#: Half of the depth that libxml2 allows; the other half is for levels that the body of a page adds.
_DEEPEST = 128
_TAG = re.compile(r"<[^<>]*>")
_UNSEEN = re.compile(
    r"<(script|style)\b(?:(?!<(?:script|style)\b).)*?</\1\s*>|<!--(?:(?!<!--).)*?-->",
    re.IGNORECASE | re.DOTALL,
)
_NO_TEXT = frozenset({"script", "style", "noscript", "template"})
_TEXT = etree.XPath(".//text()", smart_strings=False)
_HIDDEN_TEXT = etree.XPath(
    ".//script//text() | .//style//text() | .//noscript//text()", smart_strings=False
)
_UNLINKED_TEXT = etree.XPath(
    ".//text()[not(ancestor::a or ancestor::script or ancestor::style)]", smart_strings=False
)
_ROLES = frozenset({"navigation", "search"})
_FOOTER_ROLE = "contentinfo"
_BANNER_TAGS = frozenset({"div", "section", "aside", "dialog", "form"})
#: Names that sites and consent services give to the box about cookies.
_BANNER = re.compile(
    r"(?<![a-z])(cookie|gdpr|consent|onetrust|cookiebot|cc)[-_ ]?"
    r"(banner|bar|notice|consent|popup|modal|dialog|overlay|window|message|law|box|sdk)",
    re.IGNORECASE,
)
#: Names of lists of links to other pages; they count only if they hold almost nothing but links.
_LINKS = re.compile(
    r"(?<![a-z])(nav|navbar|navigation|menu|breadcrumbs?|pagination|pager|skip[-_]?links?"
    r"|lang(uage)?s?|lang(uage)?[-_]?(list|switch|switcher|selector|menu|links)|interlanguage"
    r"|interwiki)(?![a-z])",
    re.IGNORECASE,
)
_LINK_LISTS = frozenset({"ul", "ol", "div", "section", "aside", "p", "table"})
_MOST_IN_LINKS = 0.8
#: A head of a site has no paragraph of so many characters beside its links.
_PROSE = 120
#: So many paragraphs of a header are looked at.
_MOST_PARAGRAPHS = 20
#: Larger blocks are not looked at, because they may be nested a thousand levels deep.
_MOST_NODES = 400
#: This many links to the same page in other languages count as a list of languages.
_LEAST_LANGUAGES = 3
_LINK_TEXT = etree.XPath(".//a//text()", smart_strings=False)
#: If at least this share of a page is navigation, the list of links is its content.
_MOST = 0.8
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)
#: So many lines without a blank one are a long block.
_LONG_BLOCK = 200
#: The line below a heading.
_UNDERLINE = re.compile(r"[=-]+ *")
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})(.*)$")
#: A browser goes on in the body after these ends, where mailing lists and scanners add their lines.
#: libxml2 leaves out what follows them. Put in their place is something that ends a tag as they do.
_END_OF_PAGE = re.compile(r"</(?:body|html)(?:\s[^<>]{0,200})?>", re.IGNORECASE)
#: The declaration of the encoding is removed, because the text is already decoded.
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")

_kind_of = html_parser.derive_element_type_from_text


def _kind_of_any(text: str) -> type[Text] | None:
    """The kind of a text. unstructured drops a single letter or digit, which may be an answer."""
    return _kind_of(text) or (Text if text.isalnum() else None)


html_parser.derive_element_type_from_text = _kind_of_any


def read_html(source: Source) -> Reading:
    """The content of the page by unstructured, without parts that all pages of a site share."""
    return html_reading(decode(source.read(), html=True))


def html_reading(markup: str, *, is_site: bool = True) -> Reading:
    """Like `read_html`, for a page that is already text.

    A page that is none of a site has nothing that others share, so all of it is read.
    """
    markup = _XML_DECLARATION.sub("", markup).replace("\x00", "")
    tree = _parsed(_END_OF_PAGE.sub("\n<!---->", markup))
    if tree is None:
        return Reading(iter(()))
    title = tree.findtext(".//title")
    if is_site:
        _drop_boilerplate(tree)
    else:
        _keep_all(tree)
    make_plain(tree)
    _flatten(tree)
    page = lxml_html.tostring(tree, encoding="unicode")
    return Reading(elements_of(bare(partition_html)(text=page)), title=title)


def _parsed(text: str) -> etree._Element | None:
    """The page as a tree; None if it is empty.

    libxml2 leaves out, almost silently, content that is nested deeper than 256 levels, or 2048 with
    huge_tree. Such content is read without its containers, or even without any tags.
    """
    text = _MANY_ATTRIBUTES.sub(_few_attributes, text)
    tree, is_whole = _tree(text)
    for simplified in (_without_containers, _without_tags):
        if not is_whole:
            tree, is_whole = _tree(simplified(text))
    return tree


def _tree(markup: str) -> tuple[etree._Element | None, bool]:
    """The tree of a page, none if it is empty; and whether all of it is in there."""
    parser = lxml_html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        tree = lxml_html.document_fromstring(markup, parser)
    except etree.ParserError:  # lxml raises this for an empty page
        return None, True
    return tree, not any(entry.type == _TOO_DEEP for entry in parser.error_log)


def _without_containers(markup: str) -> str:
    return _CONTAINERS.sub("\n", markup)


def _without_tags(markup: str) -> str:
    """The text in one block. What a browser would not show is left out where it is closed."""
    text = _TAG.sub("\n", _UNSEEN.sub("\n", markup)).replace("<", "&lt;")
    return f"<html><body><div>{text}</div></body></html>"


def _few_attributes(tag: re.Match[str]) -> str:
    """The tag with those of its attributes that say how its text is shown, each once."""
    known = {
        found[1].lower(): found[0]
        for found in reversed(list(_ATTRIBUTE.finditer(tag[0], tag.end(1) - tag.start())))
        if found[1].lower() in _READ_ATTRIBUTES
    }
    return f"{tag[1]} {' '.join(known.values())} "


def _flatten(tree: etree._Element) -> bool:
    """Remove the containers below the deepest level that unstructured's own parser reads.

    Returns whether there were any. In broken pages whose blocks are never closed, the depth grows
    with the length.
    """
    depth = 0
    too_deep = []
    for event, node in etree.iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "start" and depth > _DEEPEST and len(node):
            too_deep.append(node)
    for node in too_deep:
        # Put a newline where a block began; otherwise its words would join those before it.
        node.text = "\n" + (node.text or "")
        unwrap(node)
    return bool(too_deep)


def _drop_boilerplate(tree: etree._Element) -> None:
    """Remove navigation, banners and footers, unless they are most of the page."""
    found = [node for node in tree.iter(etree.Element) if _is_boilerplate(node)]
    known = set(found)
    outermost = [node for node in found if not any(up in known for up in node.iterancestors())]
    dropped = sum(_text_length(node) for node in outermost)
    if dropped > _MOST * _text_length(tree):
        for node in tree.iter("nav"):
            node.tag = "div"  # unstructured leaves it out
        return
    for node in outermost:
        node.drop_tree()


def _keep_all(tree: etree._Element) -> None:
    for node in list(tree.iter(*_NO_TEXT)):
        node.drop_tree()
    for node in tree.iter("nav", "header", "footer"):
        node.tag = "div"  # unstructured leaves some of them out


def _is_boilerplate(node: etree._Element) -> bool:
    role = node.get("role")
    if node.tag in _NO_TEXT or node.tag == "nav" or role in _ROLES:
        return True
    if node.tag in ("header", "footer") or role == _FOOTER_ROLE:
        # The header or footer of an article or section belongs to it.
        return next(node.iterancestors("article", "section", "main"), None) is None and (
            node.tag != "header" or not _opens_page(node)
        )
    names = f"{node.get('id', '')} {node.get('class', '')}"
    if node.tag in _BANNER_TAGS and _BANNER.search(names):
        return True
    if node.tag not in _LINK_LISTS:
        return False
    return (bool(_LINKS.search(names)) and _is_all_links(node)) or _is_language_list(node)


def _opens_page(header: etree._Element) -> bool:
    """Whether a header is the beginning of the content: it has a heading or prose."""
    if next(header.iter("h1", "h2"), None) is not None:
        return True
    paragraphs = [header.text or "", *map(_own_text, islice(header.iter("p"), _MOST_PARAGRAPHS))]
    return max(map(len, paragraphs)) >= _PROSE


def _own_text(node: etree._Element) -> str:
    return " ".join("".join(_UNLINKED_TEXT(node)).split())


def _is_all_links(node: etree._Element) -> bool:
    if next(islice(node.iter(), _MOST_NODES, None), None) is not None:
        return False
    return _stripped_length(_LINK_TEXT(node)) >= _MOST_IN_LINKS * _text_length(node) > 0


def _is_language_list(node: etree._Element) -> bool:
    """Whether it lists the languages of the page, with one link for each."""
    items = node.findall("li")
    if len(items) < _LEAST_LANGUAGES:
        return False
    links = (next(item.iter("a"), None) for item in items)
    languages = {link.get("hreflang") for link in links if link is not None}
    return None not in languages and len(languages) == len(items)


def _text_length(node: etree._Element) -> int:
    """Length of the visible text in a node outside hidden elements."""
    if node.tag in _NO_TEXT:
        return 0
    return _stripped_length(_TEXT(node)) - _stripped_length(_HIDDEN_TEXT(node))


def _stripped_length(texts: Iterable[str]) -> int:
    return sum(len(text.strip()) for text in texts)


def read_markdown(source: Source) -> Reading:
    """The content of the text by unstructured; front matter stays as text and names the title."""
    text = decode(source.read()).replace("\r\n", "\n").replace("\x00", "")
    front = _FRONT_MATTER.match(text)
    matter = front.group(1) if front else ""
    body = text[front.end() :] if front else text
    title = _FRONT_TITLE.search(matter)
    return Reading(
        _markdown_elements(matter, body),
        title=title.group(1).strip().strip("\"'") if title else None,
    )


def _markdown_elements(matter: str, body: str) -> Iterator[Element]:
    if matter.strip():
        yield Element("Text", matter)
    if body.strip():
        page = _shallow(html_of(_plain_fences(body)))
        yield from elements_of(partition_html(text=page, languages=NO_LANGUAGES) if page else ())


def _shallow(markup: str) -> str:
    """The page, in a form that unstructured's own parser reads to the end; nothing if it is empty.

    Tags within Markdown may be nested at any depth.
    """
    tree, is_whole = _tree(markup)
    if tree is None or tree.find("body") is None:
        return ""
    if is_whole and not _flatten(tree):
        return markup
    tree = tree if is_whole else _parsed(markup)
    _flatten(tree)
    return str(lxml_html.tostring(tree, encoding="unicode"))


def _plain_fences(text: str) -> str:
    """Rewrite code blocks with bare fences at the beginning of lines, and close the last one.

    Markdown's own reader takes other code blocks for text: those with a title or line numbers after
    the language, and those within lists.
    """
    fence, indent = "", 0
    lines: list[str] = []
    run = 0  # lines since a blank one
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            is_end = found and found[2].startswith(fence) and not found[3].strip()
            lines.append(fence if is_end else _dedented(line, indent))
            fence = "" if is_end else fence
        elif found and not (found[2][0] == "`" and "`" in found[3]):
            fence, indent = found[2], len(found[1])
            lines.append(fence)
        else:
            shown = _apart(line) if run >= _LONG_BLOCK else [line]
            lines += shown
            run = run + 1 if line.strip() and len(shown) == 1 else 0
    return "\n".join([*lines, fence] if fence else lines)


def _apart(line: str) -> list[str]:
    """A line that ends a long block, with the blank line that ends it for Markdown too.

    Markdown takes a block apart heading by heading, and looks at all of the rest each time: 20,000
    headings without a blank line took a minute.
    """
    if line.startswith("#"):
        return ["", line]
    return [line, ""] if _UNDERLINE.fullmatch(line) else [line]


def _dedented(line: str, indent: int) -> str:
    return line[indent:] if not line[:indent].strip() else line.lstrip()
