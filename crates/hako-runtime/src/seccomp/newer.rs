//! System calls newer than libseccomp, or than the profile.
//!
//! A filter that answers EPERM to a call that its author could not know breaks
//! programs: a C library falls back to an older call only on ENOSYS. So before
//! libseccomp's program stand a few instructions for each architecture: a call
//! beyond all that the profile names answers ENOSYS (as runc does), and newer
//! calls that the profile allows by name are allowed by number.

use crate::sys::SockFilter;
use libseccomp::{ScmpArch, ScmpSyscall};

/// Calls that libseccomp may not know; from 403 on a number is the same on all
/// architectures.
const NUMBERS: [(&str, u32); 19] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ENOSYS: u32 = 0x0005_0000 | 38;
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// Numbers from here on are x32's, which libseccomp's program sorts out.
const X32_BIT: u32 = 0x4000_0000;

struct Arch {
    scmp: ScmpArch,
    audit: u32,
    highest: u32,
}

/// Collects what a profile names.
pub struct Newer {
    enabled: bool,
    archs: Vec<Arch>,
    allowed: Vec<u32>,
}

impl Newer {
    /// For a profile whose default action is an errno, else nothing is added.
    pub fn new(enabled: bool, archs: &[ScmpArch]) -> Self {
        let arch = |scmp: &ScmpArch| {
            let audit = match scmp {
                ScmpArch::X8664 => 0xc000_003e,
                ScmpArch::X86 => 0x4000_0003,
                ScmpArch::Aarch64 => 0xc000_00b7,
                ScmpArch::Arm => 0x4000_0028,
                _ => return None,
            };
            Some(Arch { scmp: *scmp, audit, highest: 0 })
        };
        Self { enabled, archs: archs.iter().filter_map(arch).collect(), allowed: Vec::new() }
    }

    /// Notes the names of a rule; `allowed` if it allows them whatever their arguments.
    pub fn note(&mut self, names: &[String], allowed: bool) {
        for name in names {
            let newer = NUMBERS.iter().find(|(known, _)| known == name).map(|(_, number)| *number);
            for arch in &mut self.archs {
                let known = ScmpSyscall::from_name_by_arch(name, arch.scmp).ok();
                let number = known.and_then(|call| u32::try_from(call.as_raw_syscall()).ok()).or(newer);
                arch.highest = arch.highest.max(number.unwrap_or(0));
            }
            if let Some(number) = newer.filter(|n| allowed && !self.allowed.contains(n)) {
                self.allowed.push(number);
            }
        }
    }

    /// The instructions to put before libseccomp's.
    pub fn prologue(&self) -> Vec<SockFilter> {
        let mut program = Vec::new();
        if !self.enabled {
            return program;
        }
        for arch in &self.archs {
            // Loads the number, lets x32 pass, then one comparison for each
            // allowed call, then the limit, then the two answers.
            let count = self.allowed.len() as u8;
            let body = 1 + 1 + count + 1 + 2;
            program.push(insn(LOAD_WORD, 0, 0, OFFSET_ARCH));
            program.push(insn(JUMP_EQUAL, 0, body, arch.audit));
            program.push(insn(LOAD_WORD, 0, 0, OFFSET_NR));
            program.push(insn(JUMP_GREATER_EQUAL, count + 3, 0, X32_BIT));
            for (done, number) in (0..).zip(&self.allowed) {
                program.push(insn(JUMP_EQUAL, count - done, 0, *number));
            }
            program.push(insn(JUMP_GREATER, 1, 2, arch.highest));
            program.push(insn(RETURN, 0, 0, RET_ALLOW));
            program.push(insn(RETURN, 0, 0, RET_ENOSYS));
        }
        program
    }
}

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program of the kinds used here; `None` is past its end.
    fn run(program: &[SockFilter], arch: u32, nr: u32) -> Option<u32> {
        let (mut at, mut acc) = (0, 0);
        while let Some(i) = program.get(at) {
            at += 1;
            let skip = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD_WORD => acc = if i.k == OFFSET_NR { nr } else { arch },
                JUMP_EQUAL => at += skip(acc == i.k),
                JUMP_GREATER => at += skip(acc > i.k),
                JUMP_GREATER_EQUAL => at += skip(acc >= i.k),
                RETURN => return Some(i.k),
                other => panic!("{other:#x}"),
            }
        }
        None
    }

    #[test]
    fn newer_calls_are_allowed_and_unknown_ones_do_not_exist() {
        let mut newer = Newer::new(true, &[ScmpArch::X8664, ScmpArch::X86]);
        newer.note(&["read".into(), "fchmodat2".into(), "cachestat".into()], true);
        newer.note(&["statmount".into()], false);
        let program = newer.prologue();
        for arch in [0xc000_003e, 0x4000_0003] {
            assert_eq!(run(&program, arch, 452), Some(RET_ALLOW));
            assert_eq!(run(&program, arch, 451), Some(RET_ALLOW));
            assert_eq!(run(&program, arch, 3), None);
            assert_eq!(run(&program, arch, 457), None);
            assert_eq!(run(&program, arch, 458), Some(RET_ENOSYS));
            assert_eq!(run(&program, arch, X32_BIT + 900), None);
        }
        assert_eq!(run(&program, 0xc000_00b7, 999), None);
        assert!(Newer::new(false, &[ScmpArch::X8664]).prologue().is_empty());
    }
}
