//! Device control: version 1's files, and on cgroup2 an eBPF program in place
//! of them. Without it a container with CAP_MKNOD could open the host's disks.
//!
//! Rules come in the order in which version 1 would apply them, so the last
//! that matches decides, and the program tests them backwards.

use crate::error::{Context, Error, Result};
use crate::sys::{self, BpfInsn};
use hako_model::policy;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

/// A program that was loaded before it was asked for, and the kernel's copy.
static LOADED: OnceLock<(Vec<BpfInsn>, OwnedFd)> = OnceLock::new();

const CHAR: i32 = 2;
const BLOCK: i32 = 1;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// `None` is both types.
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

/// What every container may use, as runc gives it: making any node, the
/// standard devices, terminals.
const ALWAYS: [(Option<i32>, Option<i32>, i32); 9] = [
    (None, None, MKNOD),
    (Some(1), Some(3), READ | WRITE | MKNOD),
    (Some(1), Some(5), READ | WRITE | MKNOD),
    (Some(1), Some(7), READ | WRITE | MKNOD),
    (Some(1), Some(8), READ | WRITE | MKNOD),
    (Some(1), Some(9), READ | WRITE | MKNOD),
    (Some(5), Some(0), READ | WRITE | MKNOD),
    (Some(5), Some(2), READ | WRITE | MKNOD),
    (Some(136), None, READ | WRITE | MKNOD),
];

/// The same for version 1, the console and tun with it.
const LEGACY: [&str; 12] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:9 rwm",
    "c 1:8 rwm",
    "c *:* m",
    "b *:* m",
    "c 5:1 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
];

/// Writes `linux.resources.devices` to a group of version 1, after a rule that
/// refuses all: it begins with all allowed.
pub fn legacy(dir: &Path, rules: Option<&Value>) -> std::io::Result<()> {
    let put = |file: &str, rule: &str| {
        let path = dir.join(file);
        let named = |err: std::io::Error| {
            std::io::Error::new(err.kind(), format!("write {rule:?} to {}: {err}", path.display()))
        };
        std::fs::write(&path, rule).map_err(named)
    };
    put("devices.deny", "a")?;
    for rule in rules.and_then(Value::as_array).into_iter().flatten() {
        let kind = rule["type"].as_str().filter(|kind| !kind.is_empty()).unwrap_or("a");
        let number = |name: &str| match rule[name].as_i64() {
            None | Some(-1) => "*".to_owned(),
            Some(number) => number.to_string(),
        };
        let access = rule["access"].as_str().filter(|access| !access.is_empty()).unwrap_or("rwm");
        let text = format!("{kind} {}:{} {access}", number("major"), number("minor"));
        put(if rule["allow"] == true { "devices.allow" } else { "devices.deny" }, &text)?;
    }
    LEGACY.iter().try_for_each(|rule| put("devices.allow", rule))
}

/// Confines a cgroup2 to `linux.resources.devices`. Without rules nothing is
/// allowed but what all containers need.
pub fn confine(cgroup: &Path, rules: Option<&Value>) -> Result<()> {
    let rules = rules.and_then(Value::as_array).into_iter().flatten();
    let Some(program) = program_of(rules)? else { return Ok(()) };
    let dir = File::open(cgroup).context(|| format!("open cgroup {}", cgroup.display()))?;
    let attach = |loaded: BorrowedFd<'_>| {
        sys::attach_device_program(loaded, dir.as_fd()).context(|| "attach the device program")
    };
    match LOADED.get() {
        Some((same, loaded)) if *same == program => attach(loaded.as_fd()),
        _ => attach(sys::load_device_program(&program).context(|| "load the device program")?.as_fd()),
    }
}

/// Loads the program of a container with no rules of its own, for one that is
/// confined later: the kernel checks and compiles a program when it is loaded.
pub fn load_usual() -> Result<()> {
    let rules: Vec<Value> = policy::device_rules().into_iter().map(|rule| json!(rule)).collect();
    if let Some(program) = program_of(&rules)? {
        let loaded = sys::load_device_program(&program).context(|| "load the device program")?;
        _ = LOADED.set((program, loaded));
    }
    Ok(())
}

/// The program of `rules`; none where everything is allowed.
fn program_of<'a>(rules: impl IntoIterator<Item = &'a Value>) -> Result<Option<Vec<BpfInsn>>> {
    let mut all = vec![Rule { allow: false, kind: None, major: None, minor: None, access: READ | WRITE | MKNOD }];
    for rule in rules {
        all.push(parse(rule)?);
    }
    if let Some(last) = all.last()
        && *last == (Rule { allow: true, ..all[0] })
    {
        // Everything is allowed, as for a privileged container.
        return Ok(None);
    }
    let always = |(major, minor, access)| Rule { allow: true, kind: Some(CHAR), major, minor, access };
    all.extend(ALWAYS.map(always));
    all.push(Rule { kind: Some(BLOCK), ..always(ALWAYS[0]) });
    Ok(Some(program(&all)))
}

fn parse(rule: &Value) -> Result<Rule> {
    let bad = || Error::message(format!("invalid device rule {rule}"));
    let number = |name: &str| match rule.get(name).and_then(Value::as_i64) {
        None | Some(-1) => Ok(None),
        Some(n) => i32::try_from(n).map(Some).map_err(|_| bad()),
    };
    let kind = match rule.get("type").and_then(Value::as_str) {
        None | Some("a" | "") => None,
        Some("c" | "u") => Some(CHAR),
        Some("b") => Some(BLOCK),
        Some(_) => return Err(bad()),
    };
    let mut access = 0;
    for letter in rule.get("access").and_then(Value::as_str).filter(|a| !a.is_empty()).unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(bad()),
        };
    }
    let allow = rule.get("allow").and_then(Value::as_bool).unwrap_or(false);
    Ok(Rule { allow, kind, major: number("major")?, minor: number("minor")?, access })
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> BpfInsn {
    BpfInsn { code, regs: src << 4 | dst, off, imm }
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REG: u8 = 0xbf;
const MOVE_IMM: u8 = 0xb7;
const AND_IMM: u8 = 0x57;
const SHIFT_RIGHT_IMM: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

/// The program: context `{access_type, major, minor}` in r1; the answer in r0.
fn program(rules: &[Rule]) -> Vec<BpfInsn> {
    let mut out = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(MOVE_REG, 3, 2, 0, 0),
        insn(AND_IMM, 2, 0, 0, 0xffff),     // r2: the type
        insn(SHIFT_RIGHT_IMM, 3, 0, 0, 16), // r3: the access
        insn(LOAD_WORD, 4, 1, 4, 0),        // r4: major
        insn(LOAD_WORD, 5, 1, 8, 0),        // r5: minor
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        let mut unless = |reg: u8, value: Option<i32>| {
            if let Some(value) = value {
                tests.push(insn(JUMP_NOT_EQUAL, reg, 0, 0, value));
            }
        };
        unless(2, rule.kind);
        unless(4, rule.major);
        unless(5, rule.minor);
        // An allowing rule must cover all that is asked, a refusing one any of it.
        tests.push(insn(MOVE_REG, 1, 3, 0, 0));
        if rule.allow {
            tests.push(insn(AND_IMM, 1, 0, 0, !rule.access));
            tests.push(insn(JUMP_NOT_EQUAL, 1, 0, 0, 0));
        } else {
            tests.push(insn(AND_IMM, 1, 0, 0, rule.access));
            tests.push(insn(JUMP_EQUAL, 1, 0, 0, 0));
        }
        // A failed test leaps over the other tests and the two that answer.
        let len = tests.len();
        for (at, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, JUMP_NOT_EQUAL | JUMP_EQUAL) {
                test.off = (len - at - 1 + 2) as i16;
            }
        }
        out.extend(tests);
        out.push(insn(MOVE_IMM, 0, 0, 0, i32::from(rule.allow)));
        out.push(insn(EXIT, 0, 0, 0, 0));
    }
    out.push(insn(MOVE_IMM, 0, 0, 0, 0));
    out.push(insn(EXIT, 0, 0, 0, 0));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program of the kinds used here.
    fn run(program: &[BpfInsn], kind: i32, access: i32, major: i32, minor: i32) -> i64 {
        let context = [i64::from(access << 16 | kind), i64::from(major), i64::from(minor)];
        let mut regs = [0i64; 10];
        let mut at = 0usize;
        loop {
            let i = program[at];
            let (dst, src) = ((i.regs & 15) as usize, (i.regs >> 4) as usize);
            at += 1;
            match i.code {
                LOAD_WORD => regs[dst] = context[i.off as usize / 4],
                MOVE_REG => regs[dst] = regs[src],
                MOVE_IMM => regs[dst] = i.imm.into(),
                AND_IMM => regs[dst] &= i64::from(i.imm),
                SHIFT_RIGHT_IMM => regs[dst] >>= i.imm,
                JUMP_NOT_EQUAL if regs[dst] != i64::from(i.imm) => at += i.off as usize,
                JUMP_EQUAL if regs[dst] == i64::from(i.imm) => at += i.off as usize,
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return regs[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rules: Vec<Rule> = [
            json!({"allow": false, "access": "rwm"}),
            json!({"allow": true, "type": "b", "major": 8, "access": "rw"}),
            json!({"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}),
            json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}),
        ]
        .iter()
        .map(|rule| parse(rule).unwrap())
        .collect();
        let program = program(&rules);
        assert_eq!(run(&program, CHAR, READ, 1, 3), 1);
        assert_eq!(run(&program, CHAR, READ, 1, 4), 0);
        assert_eq!(run(&program, BLOCK, READ | WRITE, 8, 0), 1);
        assert_eq!(run(&program, BLOCK, READ, 8, 1), 1);
        assert_eq!(run(&program, BLOCK, READ | WRITE, 8, 1), 0);
        assert_eq!(run(&program, BLOCK, MKNOD, 8, 0), 0);
    }

    #[test]
    fn bad_rules_are_refused() {
        assert!(parse(&json!({"allow": true, "access": "x"})).is_err());
        assert!(parse(&json!({"allow": true, "type": "z", "access": "r"})).is_err());
    }
}
