use super::*;
use crate::{args::Platforms, parse};

fn planned(text: &str, target: Option<&str>) -> Result<Vec<Needed>> {
    let file = parse(text.as_bytes()).unwrap();
    let global = Global::new(&file, Default::default(), &Platforms::default()).unwrap();
    plan(&file, target, &global)
}

const FILE: &str = "ARG BASE=img\nFROM $BASE AS one\nFROM scratch AS two\nRUN --mount=from=one,target=/x true\n\
    FROM one AS Three\nCOPY --from=TWO /a /b\nCOPY --from=1 /a /b\nCOPY --from=other/image /a /b\n\
    FROM busybox AS unused\nFROM one AS last\nCOPY --from=unused:tag /a /b\n";

#[test]
fn only_what_is_needed() {
    let of = |target| {
        let found = planned(FILE, target).unwrap();
        found.into_iter().map(|needed| (needed.stage, needed.after)).collect::<Vec<_>>()
    };
    assert_eq!(of(None), [(0, vec![]), (4, vec![0])]);
    assert_eq!(of(Some("")), of(None));
    assert_eq!(of(Some("three")), [(0, vec![]), (1, vec![0]), (2, vec![0, 1])]);
    assert_eq!(of(Some("THREE")), of(Some("2")));
    assert_eq!(of(Some("two")), [(0, vec![]), (1, vec![0])]);
    let needed = planned(FILE, Some("two")).unwrap();
    assert_eq!((&needed[0].base, &needed[1].base), (&Origin::Image("img".into()), &Origin::Scratch));
}

#[test]
fn the_latest_of_a_name_counts() {
    let found = planned("FROM a AS x\nFROM b AS x\nFROM x", None).unwrap();
    assert_eq!(found.iter().map(|needed| needed.stage).collect::<Vec<_>>(), [1, 2]);
    // A stage that has its own image's name begins with the image.
    assert_eq!(planned("FROM x AS x", None).unwrap()[0].base, Origin::Image("x".into()));
}

#[test]
fn what_is_refused() {
    for (text, target, expected) in [
        ("FROM a", Some("x"), "target stage \"x\" could not be found"),
        ("FROM a", Some("1"), "target stage \"1\" could not be found"),
        (
            "FROM a AS x\nCOPY --from=x a b",
            None,
            "dockerfile parse error on line 2: invalid from flag value x: refers to current build stage",
        ),
        (
            "FROM a\nCOPY --from=0 a b",
            None,
            "dockerfile parse error on line 2: invalid from flag value 0: refers to current build stage",
        ),
        (
            "FROM a\nCOPY --from=7 a b",
            None,
            "dockerfile parse error on line 2: invalid from flag value 7: index out of bounds",
        ),
        ("FROM $X", None, "dockerfile parse error on line 1: base name ($X) should not be blank"),
    ] {
        assert_eq!(planned(text, target).unwrap_err().to_string(), expected, "{text}");
    }
    // What stands in a stage that is not needed does not count.
    assert!(planned("FROM $X AS unused\nCOPY --from=9 a b\nFROM a", None).is_ok());
}

#[test]
fn later_names_are_images() {
    let found = planned("FROM a AS x\nCOPY --from=y /a /b\nFROM x AS y", None).unwrap();
    assert_eq!(found[0].after, Vec::<usize>::new());
}

#[test]
fn stages_are_bounded() {
    // Every one waits for all before it, by many names.
    let stage = |n: usize| format!("FROM a AS s{n}\nCOPY --from=$X a b\nCOPY --from=$Y a b\n");
    let text: String = (0..1000).map(stage).collect();
    let found = planned(&text, None).unwrap();
    assert_eq!(found.len(), 1000);
    assert_eq!(found[999].after, (0..999).collect::<Vec<_>>());
    let err = parse(format!("{text}FROM a\n").as_bytes()).unwrap_err().to_string();
    assert_eq!(err, "dockerfile parse error on line 3001: a Dockerfile has at most 1000 stages");
}
