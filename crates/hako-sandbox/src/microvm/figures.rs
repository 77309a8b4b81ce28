//! What the VM costs the host, and what is believed of the guest's own words.

use hako_model::{MOST_COMMAND, MOST_PROCESSES, ProcessFacts, ProcessList, VmFigures};
use hako_qemu::Vm;

/// The longest of the kernel's short names for programs and places.
const MOST_NAME: usize = 64;

/// The cost of `vm`; `None` once it has ended.
pub(super) fn of_vm(vm: &Vm, guest_memory: u64) -> Option<VmFigures> {
    let usage = vm.usage()?;
    Some(VmFigures {
        user_ns: usage.user_ns,
        system_ns: usage.system_ns,
        resident: usage.resident,
        anonymous: usage.anonymous,
        guest_memory,
    })
}

/// A guest's list within the bounds that an honest agent keeps.
pub(super) fn believed_processes(list: ProcessList) -> ProcessList {
    let cut = |text: String, most: usize| text.chars().take(most).collect();
    let one = |facts: ProcessFacts| ProcessFacts {
        wchan: cut(facts.wchan, MOST_NAME),
        comm: cut(facts.comm, MOST_NAME),
        args: cut(facts.args, MOST_COMMAND),
        ..facts
    };
    ProcessList { processes: list.processes.into_iter().take(MOST_PROCESSES).map(one).collect(), ..list }
}
