use super::*;
use proptest::prelude::*;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "A" => "one",
        "EMPTY" => "",
        "SPACED" => "x  y z",
        "SLASH" => "/",
        "STARS" => "a**yy*",
        "REGEX" => r"()[]{}^$.*?|\x",
        "FILE" => "dir/sub/name.tar.gz",
        "LONG" => return Some("l".repeat(1000)),
        _ => return None,
    };
    Some(value.to_owned())
}

fn of(word: &str) -> String {
    expand(word, &env, '\\').unwrap_or_else(|err| format!("! {err}"))
}

#[test]
fn quotes_and_escapes() {
    for (word, expected) in [
        ("plain", "plain"),
        ("he'll'o", "hello"),
        (r#""a b"'c d'"#, "a bc d"),
        (r#"'"'"'""#, r#""'"#),
        (r"'\n$A'", r"\n$A"),
        (r#""\$A \" \\ \x""#, r#"$A " \ \x"#),
        (r"\$A\ \\", r"$A \"),
        ("end\\", "end"),
        (r#""""#, ""),
        ("ünï", "ünï"),
    ] {
        assert_eq!(of(word), expected, "{word}");
    }
    assert_eq!(expand(r"`$A \$A", &env, '`').unwrap(), r"$A \one");
}

#[test]
fn variables() {
    for (word, expected) in [
        ("$A.$A", "one.one"),
        ("${A}x$NONE.", "onex."),
        ("$Ax", ""),
        ("a$", "a$"),
        ("$ $%", "$ $%"),
        ("\"$A ${A}\"", "one one"),
        ("$1x$12y", "xy"),
        ("${NONE:-d}${EMPTY:-d}${A:-d}", "ddone"),
        ("${NONE-d}${EMPTY-d}${A-d}", "done"),
        ("${NONE:+d}${EMPTY:+d}${A:+d}", "d"),
        ("${NONE+d}${EMPTY+d}${A+d}", "dd"),
        ("${A?no}${A:?no}${EMPTY?no}", "oneone"),
        ("${NONE:-${EMPTY:-$A}}", "one"),
        ("${NONE:-'}'}", "}"),
        (r"${NONE:-a\}b}", "a}b"),
        ("${NONE:-a b}", "a b"),
    ] {
        assert_eq!(of(word), expected, "{word}");
    }
}

#[test]
fn patterns() {
    for (word, expected) in [
        ("${FILE#*/}", "sub/name.tar.gz"),
        ("${FILE##*/}", "name.tar.gz"),
        ("${FILE%.*}", "dir/sub/name.tar"),
        ("${FILE%%.*}", "dir/sub/name"),
        ("${FILE%/???*}", "dir/sub"),
        ("${FILE#x}", "dir/sub/name.tar.gz"),
        ("${FILE%x}", "dir/sub/name.tar.gz"),
        (r"${FILE/\//-}", "dir-sub/name.tar.gz"),
        (r"${FILE//\//-}", "dir-sub-name.tar.gz"),
        ("${FILE//[a-z]/-}", "dir/sub/name.tar.gz"),
        ("${A/*/x}", "x"),
        ("${A//?/xy}", "xyxyxy"),
        ("${NONE#x}${NONE/a/b}", ""),
        (r"${REGEX#()[]{\}^$.\*\?|\\}", "x"),
        (r"${STARS%%\**\*}", "a"),
        ("${STARS#*}${STARS#}${STARS%}", "a**yy*a**yy*a**yy*"),
        (r"${STARS##a\**y}", "*"),
        ("${STARS#$STARS}", "*"),
        ("${FILE/$SLASH/.}", "dir.sub/name.tar.gz"),
        (r"${FILE//\//\/}", r"dir\/sub\/name.tar.gz"),
        ("${A/$EMPTY/x}${A///}", "xoneone"),
    ] {
        assert_eq!(of(word), expected, "{word}");
    }
}

#[test]
fn what_is_wrong() {
    for (word, text) in [
        ("'a", "looking for matching single-quote"),
        ("\"a", "looking for matching double-quote"),
        ("${A", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${A:-b", "syntax error: missing '}'"),
        ("${A/b}", "syntax error: missing '/' in ${}"),
        ("${A/b/c", "syntax error: missing '}'"),
        ("${A=b}", "unsupported modifier (=) in substitution"),
        ("${A//}", "syntax error: missing '/' in ${}"),
        ("${A!b}", "unsupported modifier (!) in substitution"),
        ("${A:^b}", "unsupported modifier (:^) in substitution"),
        ("${NONE?}", "NONE: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${NONE:?set me}", "NONE: set me"),
        (r"${A#\x}", r"invalid pattern (\x) in substitution: invalid escape '\x'"),
    ] {
        let err = of(word);
        assert!(err.starts_with("! failed to process ") && err.contains(text), "{word}: {err}");
    }
}

#[test]
fn words_are_parted_after_the_variables() {
    let of = |word| expand_words(word, &env, '\\').unwrap();
    assert_eq!(of("80 $SPACED \"$SPACED\""), ["80", "x", "y", "z", "x  y z"]);
    assert_eq!(of(r"a\ b 'c d'e"), ["a b", "c de"]);
    assert!(of(" $NONE ").is_empty());
}

#[test]
fn a_heredoc_keeps_its_quotes() {
    assert_eq!(expand_heredoc("'$A' \"${A}\" it's\n", &env, '\\').unwrap(), "'one' \"one\" it's\n");
    assert_eq!(expand_heredoc(r"\$A", &env, '\\').unwrap(), "$A");
}

#[test]
fn a_word_uses_up_neither_stack_nor_memory() {
    let nested = |depth| "${N:-".repeat(depth) + "x" + &"}".repeat(depth);
    assert_eq!(of(&nested(200)), "x");
    assert!(of(&nested(100_000)).contains("more than 256 substitutions"));
    assert_eq!(of(&"$LONG".repeat(1000)).len(), 1_000_000);
    assert!(of(&"$LONG".repeat(2000)).contains("too long"));
    assert!(of(&("${LONG//l/".to_owned() + &"x".repeat(5000) + "}")).contains("too long"));
    assert!(of(&("${LONG#".to_owned() + &"*".repeat(5000) + "}")).contains("a pattern of more than"));
}

proptest! {
    #[test]
    fn nothing_panics(word in r#"([$a-c{}:/#%*?\\'"` A-]|\PC){0,40}"#) {
        let _ = expand(&word, &env, '\\');
        let _ = expand_words(&word, &env, '`');
        let _ = expand_heredoc(&word, &env, '\\');
    }

    #[test]
    fn what_has_no_meaning_stays(word in "[a-z0-9./_:,=-]{0,40}") {
        prop_assert_eq!(of(&word), word);
    }
}
