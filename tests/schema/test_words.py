"""How text becomes words and what a query asks for, compared with a reader without SQL."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.schema.actors import Connection, rows, value
from tests.support import words

LATIN = "abcxyzABCäöüßÄÖÜéñçœ0123456789"
OTHERS = "日本東京語都のをカタカナー한국어ราคาโรงแรมбвгПрήλ"
PUNCTUATION = " \n\t.,;:!?'\"()[]{}<>|\\/+-_=*&%$#@~^`\u2013—…„“”«»、。「」・€§°\u00ad"
TEXTS = st.one_of(
    st.text(LATIN + " ", max_size=60),
    st.text(LATIN + PUNCTUATION, max_size=60),
    st.text(OTHERS + LATIN + PUNCTUATION, max_size=60),
    st.lists(
        st.sampled_from(
            ["AB-123/45", "a.b@c.de", "1.234,56", "v2.0.1", "東京都", "ราคา", "x" * 70]
        ),
        max_size=5,
    ).map(" ".join),
)
EXAMPLES = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestWords:
    @EXAMPLES
    @given(text=TEXTS)
    def test_are_those_of_the_oracle(self, shared: Connection, text: str):
        [found] = rows(shared, "select * from ingest_search.words_of(%s)", text)
        assert found["words"] == words.words(text)
        assert set(found["codes"]) == words.codes(text)

    @EXAMPLES
    @given(text=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
    def test_of_any_text_can_be_stored_and_asked_for(self, shared: Connection, text: str):
        """A search for any word of a text finds the text."""
        [made] = rows(
            shared,
            """select made.lexemes::text as lexemes, made.lexemes @@ all(asked.terms) as is_found
                 from ingest_private.lexemes_of(1, 'alice', %s, '{}') as made,
                      ingest_search.text_query(replace(%s, '"', ' '), '{english,german}') as asked
                where asked.required = '{}' and asked.left_out is null""",
            *(text, text),
        ) or [{"lexemes": "", "is_found": True}]
        assert made["is_found"], made

    @pytest.mark.parametrize(
        ("content", "query"),
        [
            ("The rooms were cleaned", "clean room"),
            ("Die Häuser sind mit der Bahn zu erreichen", "Haus"),
            ("Les réservations sont dans la lettre", "réservation"),
            ("東京都の価格は高い", "価格"),
            ("東京都の価格は高い", "都"),
            ("東京都の価格は高い", "い"),
            ("ราคาโรงแรมต่อคืน", "โรงแรม"),
            ("서울의 호텔", "호텔"),
            ("Order AB-123/45 arrived", "ab-123/45"),
            ("Write to Max.Muster@Example.com today", "max.muster@example.com"),
            ("It costs 1.234,56 €", "1.234,56"),
            ("ﬁne \uff21\uff22\uff23", "fine abc"),
            ("in\u00advisible", "invisible"),
            ("STRASSE in MÜNCHEN", "münchen"),
            ("input/output", "output"),
        ],
    )
    def test_are_found_as_people_write_them(self, shared: Connection, content: str, query: str):
        assert value(
            shared,
            """select made.lexemes @@ all(asked.terms)
                 from ingest_private.lexemes_of(1, 'alice', %s, '{}') as made,
                      ingest_search.text_query(
                          %s, array_remove(array[made.stemmer], '')) as asked""",
            *(content, query),
        )

    @pytest.mark.parametrize(
        ("content", "stemmer"),
        [
            ("The price of the room is in the list", "english"),
            ("Der Preis des Zimmers steht auf der Liste und ist nicht hoch", "german"),
            ("Le prix de la chambre est dans la liste", "french"),
            ("El precio de la habitación no está en los papeles", "spanish"),
            ("Цена не указана в списке, и это плохо", "russian"),
            ("東京都の価格", ""),
            ("17 18 19", ""),
        ],
    )
    def test_tell_their_language(self, shared: Connection, content: str, stemmer: str):
        assert stemmer == value(
            shared, "select stemmer from ingest_private.lexemes_of(1, 'a', %s, '{}')", content
        )

    def test_that_two_languages_have_tell_none(self, shared: Connection):
        source = value(
            shared, "select pg_get_functiondef('ingest_private.stop_words()'::regprocedure)"
        )
        lists = [
            line.split("'")[3].split() for line in source.splitlines() if line.strip()[:2] == "('"
        ]
        assert len(lists) == 12
        assert len({word for one in lists for word in one}) == sum(map(len, lists))


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "terms", "required", "left_out"),
        [
            ("hotel cost", ["'hotel'", "'cost'"], [], None),
            ("hotel hotel", ["'hotel'"], [], None),
            ('"bad hotel"', ["'bad' <-> 'hotel'"], ["'bad' <-> 'hotel'"], None),
            ("“bad hotel”", ["'bad' <-> 'hotel'"], ["'bad' <-> 'hotel'"], None),
            ('"hot" "bad', ["'hot'", "'bad'"], ["'hot'", "'bad'"], None),
            ("hotel -cost", ["'hotel'"], [], "'cost'"),
            ("hotel -cost -bad", ["'hotel'"], [], "'cost' | 'bad'"),
            ('hotel -"bad cost"', ["'hotel'"], [], "'bad' <-> 'cost'"),
            ("hot*", ["'hot':*"], [], None),
            ("-hot*", [], [], "'hot':*"),
            ("-5 degrees", ["'5'", "'degrees'"], [], None),
            ("well-known", ["'well-known'", "'well'", "'known'"], [], None),
            ("東京都", ["'東京'", "'京都'"], [], None),
            ("都", ["'都':*"], [], None),
            ("-都", [], [], "'都':*"),
            ('"東京都"', ["'東京' <-> '京都'"], ["'東京' <-> '京都'"], None),
            ('"京都 x"', ["'京都' <-> '都' <-> 'x'"], ["'京都' <-> '都' <-> 'x'"], None),
            ("", [], [], None),
            ("*", [], [], None),
            ('"', [], [], None),
            ("&|!():*<->'\\", [], [], None),
            ("-hotel", [], [], "'hotel'"),
        ],
    )
    def test_ask_for(
        self,
        shared: Connection,
        query: str,
        terms: list[str],
        required: list[str],
        left_out: str | None,
    ):
        [found] = rows(
            shared,
            """select terms::text[], required::text[], left_out::text
                 from ingest_search.text_query(%s, '{}')""",
            query,
        )
        assert (found["terms"], found["required"], found["left_out"]) == (
            *(terms, required, left_out),
        )

    def test_take_stop_words_for_less(self, shared: Connection):
        assert value(
            shared, "select weights from ingest_search.text_query('the hotel', '{english}')"
        ) == [
            pytest.approx(0.1),
            1.0,
        ]

    def test_ask_for_each_stem_in_use(self, shared: Connection):
        [terms] = value(
            shared,
            "select terms::text[] from ingest_search.text_query(%s, '{english,german}')",
            "Universities",
        )
        assert terms == "'univers' | 'universiti' | 'universities'"

    def test_of_a_whole_page_are_cut_to_40_terms(self, shared: Connection):
        text = " ".join(f"w{number}" for number in range(10_000))
        assert (
            len(value(shared, "select terms::text[] from ingest_search.text_query(%s, '{}')", text))
            == 40
        )
