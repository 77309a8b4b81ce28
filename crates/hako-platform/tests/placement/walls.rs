//! Who chooses the wall, and who may not.

use crate::{asked, notes, placed, refused};
use hako_model::{
    ErrorKind,
    Isolation::{self, Hyperv, Process},
};
use hako_platform::{Caller, Host, Image, Manifest, Outcome, Platform, Policy, PolicyRule, Reason, Request, Step};

fn image(name: &str) -> Image {
    let mut image = Image::of(Manifest::new(Platform::new("linux", "amd64", "")));
    image.names = vec![name.to_owned()];
    image
}

/// Whatever is not from our registry runs behind hyperv.
fn ours() -> Policy {
    let except = vec!["registry.example.com/*".to_owned()];
    Policy(vec![PolicyRule { except_images: except, ..PolicyRule::new("foreign-images", &[], Hyperv) }])
}

#[test]
fn a_policy_makes_walls_thicker() {
    let host = Host::linux("amd64");
    let wall = |name: &str, isolation: Option<Isolation>| {
        let request = Request { isolation, policy: ours(), ..Request::default() };
        placed(&image(name), &host, &request).wall
    };
    assert_eq!(wall("registry.example.com/app:1", None), Process);
    assert_eq!(wall("registry.example.com/app:1", Some(Process)), Process);
    assert_eq!(wall("registry.example.com/app:1", Some(Hyperv)), Hyperv);
    assert_eq!(wall("busybox", None), Hyperv);
    assert_eq!(wall("busybox", Some(Hyperv)), Hyperv);
    let request = Request { policy: ours(), ..Request::default() };
    assert!(notes(&placed(&image("busybox"), &host, &request), "policy"));
}

#[test]
fn a_violation_names_the_rule() {
    let request = Request { policy: ours(), ..asked(Process) };
    let refusal = refused(&image("busybox"), &Host::linux("amd64"), &request);
    assert_eq!(refusal.kind(), ErrorKind::Forbidden);
    assert!(refusal.to_string().contains("\"foreign-images\""), "{refusal}");
    assert_eq!(refusal.remedies[0].0, [Step::Wall { isolation: Hyperv }]);
    assert!(refusal.trace.iter().any(|applied| applied.rule == "policy" && applied.outcome == Outcome::Refused));
}

/// The first rule cannot take back what the second says.
#[test]
fn the_thickest_of_all_rules_counts() {
    let mut policy = Policy(vec![PolicyRule::new("all-may", &["*"], Process)]);
    policy.0.extend(ours().0);
    let request = Request { policy, ..asked(Process) };
    let refusal = refused(&image("busybox"), &Host::linux("amd64"), &request);
    assert_eq!(refusal.reason, Reason::Policy { rule: "foreign-images".into(), asked: Process, least: Hyperv });
}

#[test]
fn users_by_name() {
    let rule = PolicyRule { users: vec!["guest".into()], ..PolicyRule::new("guests", &[], Hyperv) };
    let of = |user: Option<&str>| {
        let caller = Caller { users: user.map(str::to_owned).into_iter().collect(), socket: None };
        let request = Request { policy: Policy(vec![rule.clone()]), caller, ..Request::default() };
        placed(&image("busybox"), &Host::linux("amd64"), &request).wall
    };
    assert_eq!((of(Some("root")), of(Some("guest")), of(None)), (Process, Hyperv, Hyperv));
}
