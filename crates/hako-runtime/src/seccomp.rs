//! Seccomp filters: compiling OCI's `linux.seccomp` to BPF, the file that keeps
//! a compiled one, and loading it.
//!
//! The file is a head (magic, then the flags for seccomp(2) as a little-endian
//! u32) and the instructions, 8 bytes each in the machine's order.

use crate::error::{Context, Error, Result};
use crate::sys::{self, SockFilter};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::str::FromStr;
use std::sync::Arc;

mod newer;

const MAGIC: &[u8; 8] = b"HAKOBPF1";
/// The kernel's limit for one filter.
const MAX_INSTRUCTIONS: usize = 4096;
const EPERM: u32 = 1;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    flags: u32,
    program: Arc<[SockFilter]>,
}

impl Filter {
    /// Puts the filter on this process.
    pub fn load(&self) -> nix::Result<()> {
        sys::load_filter(&self.program, self.flags)
    }

    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.flags.to_le_bytes());
        for insn in self.program.iter() {
            bytes.extend(insn.code.to_ne_bytes());
            bytes.extend([insn.jt, insn.jf]);
            bytes.extend(insn.k.to_ne_bytes());
        }
        bytes
    }

    /// From a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = || Error::message("not a compiled seccomp filter");
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(bad)?;
        let (flags, code) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        Ok(Self { flags: u32::from_le_bytes(*flags), program: instructions(code)?.into() })
    }
}

fn instructions(code: &[u8]) -> Result<Vec<SockFilter>> {
    let (chunks, rest) = code.as_chunks::<8>();
    if !rest.is_empty() || chunks.is_empty() || chunks.len() > MAX_INSTRUCTIONS {
        return Err(Error::message("not a compiled seccomp filter"));
    }
    let insn = |b: &[u8; 8]| SockFilter {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    Ok(chunks.iter().map(insn).collect())
}

/// OCI's `linux.seccomp`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    flags: Option<Vec<String>>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Arg>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arg {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Compiles OCI's `linux.seccomp` for this machine.
pub fn compile(profile: &serde_json::Value) -> Result<Filter> {
    compile_for(profile, None)
}

/// Compiles OCI's `linux.seccomp`, for this machine or for the processors that
/// `arch` names as Go does. libseccomp takes calls by this machine's numbers, and
/// translates them.
pub fn compile_for(profile: &serde_json::Value, arch: Option<&str>) -> Result<Filter> {
    let profile = Profile::deserialize(profile).map_err(|err| Error::because("invalid seccomp profile", err))?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let flags = flags(profile.flags.as_deref().unwrap_or_default())?;
    let target = arch.map_or(Ok(ScmpArch::native()), target)?;
    let archs = architectures(target, profile.architectures.as_deref().unwrap_or_default())?;
    let failed = |err| Error::because("compile seccomp profile", err);

    let mut context = ScmpFilterContext::new(default).map_err(failed)?;
    for arch in &archs {
        context.add_arch(*arch).map_err(failed)?;
    }
    if !archs.contains(&ScmpArch::native()) {
        context.remove_arch(ScmpArch::native()).map_err(failed)?;
    }
    // A binary tree: the kernel runs the whole filter once for each system call
    // at load time to learn which are always allowed.
    context.set_ctl_optimize(2).map_err(failed)?;
    let mut newer = newer::Newer::new(matches!(default, ScmpAction::Errno(_)), &archs);
    for rule in profile.syscalls.unwrap_or_default() {
        let act = action(&rule.action, rule.errno_ret)?;
        let args = rule.args.as_deref().unwrap_or_default();
        newer.note(&rule.names, act == ScmpAction::Allow && args.is_empty());
        if act != default {
            add_rule(&mut context, &rule.names, act, args)?;
        }
    }
    let mut program = newer.prologue();
    program.extend(instructions(&export(&context)?)?);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::message(format!("seccomp profile is too large: {} instructions", program.len())));
    }
    Ok(Filter { flags, program: program.into() })
}

/// libseccomp writes to a descriptor only.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>> {
    let fd = memfd_create("seccomp", MFdFlags::MFD_CLOEXEC).context(|| "memfd_create")?;
    let mut file = File::from(fd);
    context.export_bpf(&file).map_err(|err| Error::because("export seccomp filter", err))?;
    let mut code = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut code)).context(|| "read seccomp filter")?;
    Ok(code)
}

fn add_rule(context: &mut ScmpFilterContext, names: &[String], act: ScmpAction, args: &[Arg]) -> Result<()> {
    let conditions = args.iter().map(condition).collect::<Result<Vec<_>>>()?;
    let repeated = (1..args.len()).any(|i| args[..i].iter().any(|arg| arg.index == args[i].index));
    for name in names {
        // A name that libseccomp does not know is none of this kernel's, or newer than it.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        let failed = |err| Error::because(format!("seccomp rule for {name}"), err);
        if conditions.is_empty() {
            context.add_rule(act, syscall).map_err(failed)?;
        } else if repeated {
            // Two conditions on one argument are alternatives, as in runc.
            for one in &conditions {
                context.add_rule_conditional(act, syscall, &[*one]).map_err(failed)?;
            }
        } else {
            context.add_rule_conditional(act, syscall, &conditions).map_err(failed)?;
        }
    }
    Ok(())
}

fn condition(arg: &Arg) -> Result<ScmpArgCompare> {
    let (op, datum) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, arg.value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, arg.value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, arg.value),
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, arg.value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, arg.value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, arg.value),
        "SCMP_CMP_MASKED_EQ" => (ScmpCompareOp::MaskedEqual(arg.value), arg.value_two),
        other => return Err(Error::message(format!("unknown seccomp operator {other}"))),
    };
    if arg.index > 5 {
        return Err(Error::message(format!("seccomp argument {} does not exist", arg.index)));
    }
    Ok(ScmpArgCompare::new(arg.index, op, datum))
}

fn action(name: &str, errno: Option<u32>) -> Result<ScmpAction> {
    let value = errno.unwrap_or(EPERM);
    match name {
        "SCMP_ACT_ALLOW" => Ok(ScmpAction::Allow),
        "SCMP_ACT_ERRNO" => Ok(ScmpAction::Errno(i32::try_from(value).unwrap_or(1))),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(ScmpAction::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(ScmpAction::KillProcess),
        "SCMP_ACT_TRAP" => Ok(ScmpAction::Trap),
        "SCMP_ACT_TRACE" => Ok(ScmpAction::Trace(u16::try_from(value).unwrap_or(1))),
        "SCMP_ACT_LOG" => Ok(ScmpAction::Log),
        "SCMP_ACT_NOTIFY" => Err(Error::message("not supported: seccomp action SCMP_ACT_NOTIFY")),
        other => Err(Error::message(format!("unknown seccomp action {other}"))),
    }
}

/// By Go's name, of those whose bytes are in this machine's order.
fn target(name: &str) -> Result<ScmpArch> {
    match name {
        "amd64" => Ok(ScmpArch::X8664),
        "arm64" => Ok(ScmpArch::Aarch64),
        other => Err(Error::message(format!("not supported: seccomp filters for {other}"))),
    }
}

fn architectures(target: ScmpArch, names: &[String]) -> Result<Vec<ScmpArch>> {
    let mut archs = vec![target];
    for name in names {
        let arch =
            ScmpArch::from_str(name).map_err(|_| Error::message(format!("unknown seccomp architecture {name}")))?;
        if !archs.contains(&arch) && arch != ScmpArch::Native {
            archs.push(arch);
        }
    }
    Ok(archs)
}

fn flags(names: &[String]) -> Result<u32> {
    names.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                // This process has one thread: nothing to synchronise.
                "SECCOMP_FILTER_FLAG_TSYNC" => 0,
                "SECCOMP_FILTER_FLAG_LOG" => 1 << 1,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 1 << 2,
                other => return Err(Error::message(format!("not supported: seccomp flag {other}"))),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_model::policy;
    use serde_json::json;

    #[test]
    fn another_machines_filter_has_nothing_of_this_one() {
        const AMD64: u32 = 0xc000_003e;
        const ARM64: u32 = 0xc000_00b7;
        let caps = policy::default_capabilities();
        let has = |arch: &str, token: u32| {
            let profile = policy::seccomp_profile(&caps, (6, 1), arch);
            let filter = compile_for(&profile, Some(arch)).unwrap();
            filter.program.iter().any(|insn| insn.k == token)
        };
        assert!(has("arm64", ARM64) && !has("arm64", AMD64));
        assert!(has("amd64", AMD64) && !has("amd64", ARM64));
        let refused = compile_for(&policy::seccomp_profile(&caps, (6, 1), "s390x"), Some("s390x"));
        assert_eq!(refused.unwrap_err().to_string(), "not supported: seccomp filters for s390x");
    }

    #[test]
    fn the_default_profile_compiles_and_comes_back_from_its_file() {
        let caps = policy::default_capabilities();
        let filter = compile(&policy::seccomp_profile(&caps, (6, 1), policy::native_arch())).unwrap();
        assert!(filter.program.len() > 100);
        assert_eq!(Filter::from_bytes(&filter.to_bytes()).unwrap(), filter);
    }

    #[test]
    fn bad_files_are_refused() {
        for bytes in [&b""[..], b"HAKOBPF1", b"HAKOBPF1\0\0\0\0", b"HAKOBPF1\0\0\0\0abc", b"12345678\0\0\0\0abcdefgh"] {
            assert!(Filter::from_bytes(bytes).is_err());
        }
    }

    #[test]
    fn what_is_not_built_says_so() {
        let notify =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]});
        assert_eq!(compile(&notify).unwrap_err().to_string(), "not supported: seccomp action SCMP_ACT_NOTIFY");
        assert!(compile(&json!({"defaultAction": "SCMP_ACT_X"})).is_err());
        assert!(compile(&json!({})).is_err());
    }
}
