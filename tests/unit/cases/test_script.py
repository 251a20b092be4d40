from pathlib import Path

from stack.cases import script
from stack.lint import quotes


def test_strings_comments_and_patterns_are_no_nodes() -> None:
    text = (
        "// |alert() in a comment\n"
        'stream|from().where(lambda: "a" =~ /x\'|alert()/)\n'
        "    |alert().message('|alert() in text, it\\'s')\n"
        "    |deadman(100.0, 10s)\n"
    )
    heard = script.listen(text, "/logs/{}".format)
    assert heard.count("/logs/") == 2
    assert "|alert().log('/logs/0').message(" in heard
    assert "|deadman(100.0, 10s).log('/logs/1')" in heard


def test_a_query_may_hold_quotes_of_its_own() -> None:
    text = "batch\n  |query('''SELECT \"a\" FROM \"b\" WHERE c = 'x' ''').every(1m)\n  |alert()"
    assert script.kind(text) == "batch"
    assert script.listen(text, lambda _: "/l").endswith("|alert().log('/l')")
    assert script.longest_every(text) == 60 * 10**9


def test_databases_may_be_variables() -> None:
    text = "var db = 'one'\nvar rp = 'week'\nx|influxDBOut().retentionPolicy(rp).database(db)"
    assert script.sources(text) == [script.Source("one", "week")]
    assert script.sources(text, {"db": "two"}) == [script.Source("two", "week")]


def test_several_dbrps() -> None:
    text = 'dbrp "a"."b"\ndbrp "c"."d e"\nstream|from()'
    assert [str(s) for s in script.dbrps(text)] == ["a.b", "c.d e"]


def test_a_comparison_with_a_name_that_no_data_has_is_found(tmp_path: Path) -> None:
    file = tmp_path / "x.tick"
    file.write_text('stream|from()\n    .where(lambda: "host" == "server1")\n')
    (finding,) = quotes([file])
    assert (finding.line, finding.column, finding.level) == (2, 30, "warning")
    assert "'server1'" in finding.message


def test_other_comparisons_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.tick"
    file.write_text(
        "stream|from()\n"
        "    .where(lambda: \"host\" == 'server1')\n"
        "    |eval(lambda: \"usage_idle\").as('now')\n"
        '    |where(lambda: "now" != "usage_idle" AND "b.usage_idle" == "a.now")\n'
        "    // lint: allow, another system makes it\n"
        '    |where(lambda: "host" == "other")\n'
    )
    assert quotes([file]) == []
