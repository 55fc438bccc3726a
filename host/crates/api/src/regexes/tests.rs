//! Both what is matched and what is said were taken from Go's `regexp`.

use super::*;

/// A pattern with texts that it finds something in, and with texts in which it finds nothing.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

const ROWS: &[Row] = &[
    (r#"^[^()<>@,;:\\"\/[\]?={} \t]+$"#, &["abc", "a&b", "X-Y"], &["a[b", "a]b", "a b", "a/b", "", "a\\"]),
    (r"^[a&&b]+$", &["a&b", "&&"], &["c", ""]),
    (r"^[!--]+$", &["#-", "+"], &["."]),
    (r"^[+--b]+$", &["+,-b"], &["a"]),
    (r"^[a~~b]+$", &["a~b"], &["c"]),
    (r"^[[a]+$", &["[a["], &["b"]),
    (r"^[]a]+$", &["]a"], &["b"]),
    (r"^[^]a]+$", &["b"], &["]"]),
    (r"^[a-]+$", &["a-"], &["b"]),
    (r"^[\]\-\^]+$", &["]-^"], &["a"]),
    (r"^[[:alpha:]_]+$", &["ab_"], &["1", "ä"]),
    (r"^[[:^alpha:]]+$", &["12"], &["a"]),
    (r"^[\d\s]+$", &["1 2"], &["a", "\u{0b}", "\u{0661}"]),
    (r"^[\W]+$", &["ä-"], &["a"]),
    (r"\/\_\-\ \#\&\~\<\>\%", &["/_- #&~<>%"], &["/"]),
    (r"^\d+$", &["12"], &["\u{0661}"]),
    (r"^\w+$", &["a_1"], &["ä"]),
    (r"^\s$", &["\t", "\x0c"], &["\u{0b}", "\u{a0}"]),
    (r"^\S\D\W$", &["äää"], &["a1a"]),
    (r"^a\b", &["aä", "a"], &["aa"]),
    (r"a\B", &["aa"], &["aä"]),
    (r"\Q.*[\E+$", &[".*[[["], &["a"]),
    (r"\Qa.b", &["a.b"], &["axb"]),
    (r"^(?P<n>a)(?<m>b)(?P<1>c)\z", &["abc"], &["abc\n"]),
    (r"^\pN\p{Greek}\PL\p{^Lu}$", &["1α1a"], &["1a1a", "1α1A"]),
    (r"a{,5}", &["a{,5}"], &["aaa"]),
    (r"^{$", &["{"], &["}"]),
    (r"x{a}{01}", &["x{a}{01}"], &["x"]),
    (r"^a{2,3}?$", &["aa", "aaa"], &["a", "aaaa"]),
    (r"^\x41\x{1F600}\101\0$", &["A\u{1F600}A\0"], &["AA"]),
    (r"(?i)^k\w$", &["\u{212A}\u{17F}", "Ks"], &["ka1"]),
    (r"^.$", &["ä"], &["\n", ""]),
    (r"(?s)^.$", &["\n"], &["ab"]),
    (r"(?m)^b$", &["a\nb\nc"], &["a\r\nbc"]),
    (r"(?i:a)b(?)", &["Ab"], &["AB"]),
    (r"(?i-i)a", &["a"], &["A"]),
    (r"^(a|b|)$", &["a", ""], &["c"]),
    (r"^*a", &["a"], &["b"]),
    (r"^.{1,1000}$", &["ä"], &[""]),
    (r"^\p{L}{1,63}$", &["äb"], &["1"]),
    (r"a # b", &["a # b"], &["a"]),
];

#[test]
fn patterns_find_what_they_find_in_go() {
    for (pattern, found, not_found) in ROWS {
        let regex = regex::Regex::new(&translate(pattern).expect(pattern)).expect(pattern);
        found.iter().for_each(|text| assert!(regex.is_match(text), "{pattern} in {text:?}: {}", regex.as_str()));
        not_found.iter().for_each(|text| assert!(!regex.is_match(text), "{pattern} in {text:?}: {}", regex.as_str()));
    }
}

#[test]
fn what_go_refuses_is_refused_in_its_words() {
    let patterns = [
        "(",
        ")",
        "(a",
        "a)",
        "[",
        "[a",
        "[]",
        "[^]",
        "*",
        "a|*",
        "(+a)",
        "a**",
        "a*??",
        "a{2}{3}",
        "a{1001}",
        "a{3,2}",
        "a{99999999999}",
        "(a{50}){50}",
        r"\",
        r"\1",
        r"\8",
        r"\C",
        r"\Z",
        r"\q",
        r"\ä",
        r"\x",
        r"\x{",
        r"\x{g}",
        r"\x4",
        r"\x{110000}",
        r"\p",
        r"\p{Foo}",
        r"\pX",
        r"\p{Alphabetic}",
        r"\p{L",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?P<a",
        "(?P<a-b>c)",
        "(?P=a)",
        "(?i-)a",
        "(?x)a",
        "(?",
        "[b-a]",
        "[[:foo:]]",
        r"[\b]",
        r"[a-\d]",
        "[a-",
    ];
    let said =
        patterns.map(|pattern| translate(pattern).map_or_else(|why| format!("{pattern}  {why}"), |as_is| format!("{pattern}  PASSES {as_is}")));
    expect_test::expect_file!["faults.txt"].assert_eq(&(said.join("\n") + "\n"));
}
