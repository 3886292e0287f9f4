//! The bounds inside which foreign bytes are loaded: limits of the kernel and a filter of system calls.
//!
//! The filter names what loading and computing never need: the network, other programs, other
//! processes, and every change of the file system. Everything else is allowed, because engines differ
//! in what they ask of the kernel from build to build. Threads may be started, processes not.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Files that may be open at once.
const OPEN_FILES: u64 = 64;

/// Bounds what this process may use from now on.
///
/// # Errors
/// The kernel refused; the text names the limit.
pub(crate) fn limit(memory_bytes: u64, cpu_s: u64) -> Result<(), String> {
    let limits = [
        ("memory", Resource::As, memory_bytes, memory_bytes),
        // The soft limit ends the process with a signal of its own, which tells why.
        ("computing time", Resource::Cpu, cpu_s, cpu_s.saturating_add(1)),
        ("open files", Resource::Nofile, OPEN_FILES, OPEN_FILES),
        ("written bytes", Resource::Fsize, 0, 0),
        ("core dumps", Resource::Core, 0, 0),
    ];
    for (what, resource, soft, hard) in limits {
        let new = Rlimit { current: Some(soft), maximum: Some(hard) };
        setrlimit(resource, new).map_err(|error| format!("limit {what}: {error}"))?;
    }
    Ok(())
}

/// Offers this process to the kernel first where memory runs out, in a container or on the machine: the server shall
/// outlive what it proves. Where that cannot be said, it is as it was.
pub(crate) fn offer_to_the_kernel() {
    // The highest there is; everybody may raise his own.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Bars this process, all its threads and all it may ever start from what loading never needs.
///
/// # Errors
/// The kernel has no such filters, or this architecture is not known; the text says so.
pub(crate) fn bar() -> Result<(), String> {
    for filter in filters()? {
        seccompiler::apply_filter_all_threads(&filter)
            .map_err(|error| format!("filter system calls: {error}"))?;
    }
    Ok(())
}

/// Enters the cage and tries what it must forbid, and what it must not; for `tenon doctor` and tests.
///
/// # Errors
/// The cage cannot be entered, or does not hold: what got through, or what did not work any more.
pub(crate) fn try_out() -> Result<(), String> {
    // Before the cage: loading must go on to work inside it.
    let exe = std::env::current_exe().map_err(|error| format!("find the executable: {error}"))?;
    limit(1 << 30, 10)?;
    bar()?;
    let forbidden: [(&str, bool); 4] = [
        ("listen on a port", std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
        ("send to the network", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("write a file", std::fs::OpenOptions::new().append(true).open("/dev/null").is_ok()),
        ("start a program", std::process::Command::new(&exe).arg("--version").output().is_ok()),
    ];
    if let Some((what, _)) = forbidden.iter().find(|(_, succeeded)| *succeeded) {
        return Err(format!("the filter of system calls does not hold: a model could {what}"));
    }
    let needed: [(&str, bool); 2] = [
        ("read a file", std::fs::File::open(&exe).is_ok()),
        ("start a thread", std::thread::spawn(|| ()).join().is_ok()),
    ];
    match needed.iter().find(|(_, succeeded)| !succeeded) {
        Some((what, _)) => {
            Err(format!("the filter of system calls forbids too much: a model could not {what}"))
        }
        None => Ok(()),
    }
}

fn filters() -> Result<[BpfProgram; 2], String> {
    let refused = |error: seccompiler::BackendError| format!("filter system calls: {error}");
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(refused)?;
    let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, denied: libc::c_int| {
        let deny = SeccompAction::Errno(denied.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch).map_err(refused)?;
        BpfProgram::try_from(filter).map_err(refused)
    };
    let mut denied: BTreeMap<_, _> =
        DENIED.iter().chain(DENIED_HERE).map(|call| (*call, Vec::new())).collect();
    denied.extend(conditional().map_err(refused)?);
    // Callers fall back to the older call when the newer one is not there, and that one can be judged.
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    Ok([compile(denied, libc::EPERM)?, compile(absent, libc::ENOSYS)?])
}

/// Calls of which only some are denied.
fn conditional() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let argument = |index: u8, is: Is, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(index, Len::Dword, is, value)?])
    };
    let flag = |index: u8, flag: libc::c_int| {
        let bits = u64::from(flag.unsigned_abs());
        argument(index, Is::MaskedEq(bits), bits)
    };
    let writes = |index: u8| {
        let bits = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC];
        bits.into_iter().map(|bit| flag(index, bit)).collect::<Result<Vec<_>, _>>()
    };
    let own = u64::from(std::process::id());
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let mut rules = BTreeMap::from([
        (libc::SYS_openat, writes(2)?),
        // A new process is a clone that is no thread.
        (libc::SYS_clone, vec![argument(0, Is::MaskedEq(thread), 0)?]),
        // `abort` signals the process itself.
        (libc::SYS_tgkill, vec![argument(0, Is::Ne, own)?]),
        // Reading a limit is fine, a new one in the third argument is not.
        (
            libc::SYS_prlimit64,
            vec![SeccompRule::new(vec![SeccompCondition::new(2, Len::Qword, Is::Ne, 0)?])?],
        ),
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writes(1)?);
    Ok(rules)
}

/// Calls that are denied whatever their arguments are, on every architecture.
const DENIED: &[i64] = &[
    // The network.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Other programs and other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_setrlimit,
    // Changes of the file system.
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // The kernel and the machine.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Older names of the same calls, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[
    libc::SYS_creat,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];

#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[];

/// Calls whose flags lie in memory, where a filter cannot see them.
const ABSENT: &[i64] = &[libc::SYS_openat2, libc::SYS_clone3, libc::SYS_io_uring_setup];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_offered_the_child_first() {
        offer_to_the_kernel();
        let offered = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(offered.trim(), "1000");
    }
}
