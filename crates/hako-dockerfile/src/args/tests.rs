use super::*;
use crate::parse;

fn scope_of(text: &str, given: &[(&str, Option<&str>)]) -> (Dockerfile, Global) {
    let file = parse(text.as_bytes()).unwrap();
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
    let platforms = Platforms {
        target: ("linux".into(), "arm".into(), "v7".into()),
        build: ("linux".into(), "amd64".into(), String::new()),
    };
    let global = Global::new(&file, given, &platforms).unwrap();
    (file, global)
}

#[test]
fn what_from_sees() {
    let text = "ARG V=1\nARG W=$V-$GIVEN\nARG GIVEN\nARG LATE=$GIVEN$TARGETARCH\nFROM a:$V-$W-${LATE}\nFROM $NONE";
    let (file, global) = scope_of(text, &[("GIVEN", Some("g")), ("NOT", Some("n"))]);
    assert_eq!(global.base(&file.stages[0]).unwrap(), "a:1-1--garm");
    assert_eq!(
        global.base(&file.stages[1]).unwrap_err().to_string(),
        "dockerfile parse error on line 6: base name ($NONE) should not be blank"
    );
    assert_eq!(global.get("TARGETPLATFORM").as_deref(), Some("linux/arm/v7"));
    assert_eq!(global.get("BUILDPLATFORM").as_deref(), Some("linux/amd64"));
    assert_eq!(global.unused(&file), ["NOT"]);
}

#[test]
fn a_stage_declares_what_it_sees() {
    let (_, global) = scope_of("ARG V=1\nARG W=2\nFROM a", &[("W", Some("given")), ("X", Some("x"))]);
    let mut scope = global.scope();
    assert_eq!(scope.lookup("V", &[]), None);
    scope.declare("V", None, &[]).unwrap();
    scope.declare("W", Some("own"), &[]).unwrap();
    scope.declare("Y", Some("$V-$W-$E"), &["E=e".into()]).unwrap();
    scope.declare("Z", None, &[]).unwrap();
    scope.declare("TARGETOS", None, &[]).unwrap();
    let of = |name| scope.lookup(name, &["V=env".into()]);
    assert_eq!(
        [of("V"), of("W"), of("Y"), of("Z"), of("X")],
        [Some("env".into()), Some("given".into()), Some("1-given-e".into()), None, None]
    );
    assert_eq!(scope.visible(&["V=env".into()]), ["TARGETOS=linux", "W=given", "Y=1-given-e"]);
}

#[test]
fn what_grows_is_bounded() {
    let mut text = "ARG A0=0123456789\n".to_owned();
    for n in 1..200 {
        text += &format!("ARG A{n}=$A{}$A{}\n", n - 1, (n - 1).min(16));
    }
    let file = parse((text + "FROM a").as_bytes()).unwrap();
    let refused = Global::new(&file, BTreeMap::new(), &Platforms::default()).unwrap_err().to_string();
    assert!(refused.contains("arguments of more than") || refused.contains("too long"), "{refused}");
}

#[test]
fn proxies_are_never_declared() {
    let (file, global) = scope_of("FROM a", &[("HTTP_PROXY", Some("p")), ("no_proxy", None)]);
    let mut scope = global.scope();
    assert_eq!(scope.environment(&[]), ["HTTP_PROXY=p"]);
    assert!(scope.environment(&["HTTP_PROXY=of the image".into()]).is_empty());
    assert!(scope.visible(&[]).is_empty() && global.unused(&file).is_empty());
    scope.declare("HTTP_PROXY", None, &[]).unwrap();
    assert_eq!(scope.visible(&[]), ["HTTP_PROXY=p"]);
}
