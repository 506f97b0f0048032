//! What a configuration's fields must be: the JSON schema of the OCI runtime specification 1.0.2, its common and its Linux
//! part, and what sysctr needs besides, as a table. Fields that it does not know pass, as they do there.

/// What a field must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Texts,
    /// At least one.
    SomeTexts,
    Flag,
    /// A whole number from the first to the second.
    Whole(i128, i128),
    /// Whole numbers from 0 to 2³²-1.
    Ids,
    Object,
    Objects,
    TextMap,
    /// One of these texts.
    One(&'static [&'static str]),
    /// A list of these texts.
    Some(&'static [&'static str]),
    /// A text of this form, and what that is called.
    Like(fn(&str) -> bool, &'static str),
}

const U16: Kind = Kind::Whole(0, 0xffff);
const U32: Kind = Kind::Whole(0, 0xffff_ffff);
const U64: Kind = Kind::Whole(0, u64::MAX as i128);
const I64: Kind = Kind::Whole(i64::MIN as i128, i64::MAX as i128);
const ANY: Kind = Kind::Whole(i128::MIN, i128::MAX);

/// Also the recursive forms, which the schema lacks and runtimes know.
const PROPAGATIONS: &[&str] =
    &["private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable"];
const NAMESPACES: &[&str] = &["mount", "pid", "network", "uts", "ipc", "user", "cgroup"];
const PERSONALITIES: &[&str] = &["LINUX", "LINUX32"];
const ACTIONS: &[&str] = &[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];
const OPERATORS: &[&str] = &[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const FILTER_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
const ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
];

/// Places of one kind of object (`[]` for every element of a list, `*` for every value of an object), and its fields; a `!` in
/// front: the field must be there.
pub(super) type Shape = (&'static [&'static str], &'static [(&'static str, Kind)]);

pub(super) const SHAPES: &[Shape] = &[
    (
        &[""],
        &[
            ("!ociVersion", Kind::Text),
            ("hostname", Kind::Text),
            ("domainname", Kind::Text),
            ("annotations", Kind::TextMap),
            ("!root", Kind::Object),
            ("!process", Kind::Object),
            ("mounts", Kind::Objects),
            ("hooks", Kind::Object),
            ("!linux", Kind::Object),
        ],
    ),
    (&["root"], &[("!path", Kind::Text), ("readonly", Kind::Flag)]),
    (
        &["process"],
        &[
            ("!args", Kind::Texts),
            ("!cwd", Kind::Text),
            ("commandLine", Kind::Text),
            ("consoleSize", Kind::Object),
            ("env", Kind::Texts),
            ("terminal", Kind::Flag),
            ("!user", Kind::Object),
            ("capabilities", Kind::Object),
            ("rlimits", Kind::Objects),
            ("noNewPrivileges", Kind::Flag),
            ("apparmorProfile", Kind::Text),
            ("selinuxLabel", Kind::Text),
            ("oomScoreAdj", ANY),
        ],
    ),
    (&["process.consoleSize"], &[("!height", U64), ("!width", U64)]),
    (
        &["process.user"],
        &[
            ("uid", U32),
            ("gid", U32),
            ("umask", U32),
            ("additionalGids", Kind::Ids),
            ("username", Kind::Text),
        ],
    ),
    (
        &["process.capabilities"],
        &[
            ("bounding", Kind::Texts),
            ("effective", Kind::Texts),
            ("inheritable", Kind::Texts),
            ("permitted", Kind::Texts),
            ("ambient", Kind::Texts),
        ],
    ),
    (
        &["process.rlimits[]"],
        &[("!type", Kind::Like(is_rlimit, "a limit such as RLIMIT_NOFILE")), ("!hard", U64), ("!soft", U64)],
    ),
    (
        &["mounts[]"],
        &[
            ("!destination", Kind::Text),
            ("type", Kind::Text),
            ("source", Kind::Text),
            ("options", Kind::Texts),
            ("uidMappings", Kind::Objects),
            ("gidMappings", Kind::Objects),
        ],
    ),
    (
        &["hooks"],
        &[
            ("prestart", Kind::Objects),
            ("createRuntime", Kind::Objects),
            ("createContainer", Kind::Objects),
            ("startContainer", Kind::Objects),
            ("poststart", Kind::Objects),
            ("poststop", Kind::Objects),
        ],
    ),
    (
        &[
            "hooks.prestart[]",
            "hooks.createRuntime[]",
            "hooks.createContainer[]",
            "hooks.startContainer[]",
            "hooks.poststart[]",
            "hooks.poststop[]",
        ],
        &[
            ("!path", Kind::Text),
            ("args", Kind::Texts),
            ("env", Kind::Texts),
            ("timeout", Kind::Whole(1, i128::MAX)),
        ],
    ),
    (
        &["mounts[].uidMappings[]", "mounts[].gidMappings[]", "linux.uidMappings[]", "linux.gidMappings[]"],
        &[("!containerID", U32), ("!hostID", U32), ("!size", U32)],
    ),
    (
        &["linux"],
        &[
            ("namespaces", Kind::Objects),
            ("uidMappings", Kind::Objects),
            ("gidMappings", Kind::Objects),
            ("devices", Kind::Objects),
            ("resources", Kind::Object),
            ("cgroupsPath", Kind::Text),
            ("rootfsPropagation", Kind::One(PROPAGATIONS)),
            ("seccomp", Kind::Object),
            ("sysctl", Kind::TextMap),
            ("maskedPaths", Kind::Texts),
            ("readonlyPaths", Kind::Texts),
            ("mountLabel", Kind::Text),
            ("intelRdt", Kind::Object),
            ("personality", Kind::Object),
        ],
    ),
    (&["linux.namespaces[]"], &[("!type", Kind::One(NAMESPACES)), ("path", Kind::Text)]),
    (
        &["linux.devices[]"],
        &[
            ("!type", Kind::One(&["c", "b", "u", "p"])),
            ("!path", Kind::Text),
            ("major", I64),
            ("minor", I64),
            ("fileMode", Kind::Whole(0, 512)),
            ("uid", U32),
            ("gid", U32),
        ],
    ),
    (
        &["linux.resources"],
        &[
            ("unified", Kind::TextMap),
            ("devices", Kind::Objects),
            ("pids", Kind::Object),
            ("blockIO", Kind::Object),
            ("cpu", Kind::Object),
            ("hugepageLimits", Kind::Objects),
            ("memory", Kind::Object),
            ("network", Kind::Object),
            ("rdma", Kind::Object),
        ],
    ),
    (
        &["linux.resources.devices[]"],
        &[
            ("!allow", Kind::Flag),
            ("type", Kind::Text),
            ("major", I64),
            ("minor", I64),
            ("access", Kind::Text),
        ],
    ),
    (&["linux.resources.pids"], &[("!limit", I64)]),
    (
        &["linux.resources.blockIO"],
        &[
            ("weight", U16),
            ("leafWeight", U16),
            ("throttleReadBpsDevice", Kind::Objects),
            ("throttleWriteBpsDevice", Kind::Objects),
            ("throttleReadIOPSDevice", Kind::Objects),
            ("throttleWriteIOPSDevice", Kind::Objects),
            ("weightDevice", Kind::Objects),
        ],
    ),
    (
        &[
            "linux.resources.blockIO.throttleReadBpsDevice[]",
            "linux.resources.blockIO.throttleWriteBpsDevice[]",
            "linux.resources.blockIO.throttleReadIOPSDevice[]",
            "linux.resources.blockIO.throttleWriteIOPSDevice[]",
        ],
        &[("!major", I64), ("!minor", I64), ("rate", U64)],
    ),
    (
        &["linux.resources.blockIO.weightDevice[]"],
        &[("!major", I64), ("!minor", I64), ("weight", U16), ("leafWeight", U16)],
    ),
    (
        &["linux.resources.cpu"],
        &[
            ("cpus", Kind::Text),
            ("mems", Kind::Text),
            ("period", U64),
            ("quota", I64),
            ("burst", U64),
            ("realtimePeriod", U64),
            ("realtimeRuntime", I64),
            ("shares", U64),
            ("idle", I64),
        ],
    ),
    (
        &["linux.resources.hugepageLimits[]"],
        &[("!pageSize", Kind::Like(is_page_size, "a size of pages such as 2MB")), ("!limit", U64)],
    ),
    (
        &["linux.resources.memory"],
        &[
            ("kernel", I64),
            ("kernelTCP", I64),
            ("limit", I64),
            ("reservation", I64),
            ("swap", I64),
            ("swappiness", U64),
            ("disableOOMKiller", Kind::Flag),
            ("useHierarchy", Kind::Flag),
            ("checkBeforeUpdate", Kind::Flag),
        ],
    ),
    (&["linux.resources.network"], &[("classID", U32), ("priorities", Kind::Objects)]),
    (&["linux.resources.network.priorities[]"], &[("!name", Kind::Text), ("!priority", U32)]),
    (&["linux.resources.rdma"], &[("*", Kind::Object)]),
    (&["linux.resources.rdma.*"], &[("hcaHandles", U32), ("hcaObjects", U32)]),
    (
        &["linux.seccomp"],
        &[
            ("!defaultAction", Kind::One(ACTIONS)),
            ("defaultErrnoRet", U32),
            ("flags", Kind::Some(FILTER_FLAGS)),
            ("listenerPath", Kind::Text),
            ("listenerMetadata", Kind::Text),
            ("architectures", Kind::Some(ARCHITECTURES)),
            ("syscalls", Kind::Objects),
        ],
    ),
    (
        &["linux.seccomp.syscalls[]"],
        &[
            ("!names", Kind::SomeTexts),
            ("!action", Kind::One(ACTIONS)),
            ("errnoRet", U32),
            ("args", Kind::Objects),
        ],
    ),
    (
        &["linux.seccomp.syscalls[].args[]"],
        &[("!index", U32), ("!value", U64), ("valueTwo", U64), ("!op", Kind::One(OPERATORS))],
    ),
    (
        &["linux.intelRdt"],
        &[
            ("closID", Kind::Text),
            ("l3CacheSchema", Kind::Text),
            ("memBwSchema", Kind::Like(is_bandwidth, "one line that begins with MB:")),
            ("enableCMT", Kind::Flag),
            ("enableMBM", Kind::Flag),
        ],
    ),
    (&["linux.personality"], &[("domain", Kind::One(PERSONALITIES)), ("flags", Kind::Texts)]),
];

fn is_rlimit(text: &str) -> bool {
    text.strip_prefix("RLIMIT_")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_uppercase()))
}

fn is_page_size(text: &str) -> bool {
    let number = text.strip_suffix('B').and_then(|text| text.strip_suffix(['K', 'M', 'G']));
    number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|c| c.is_ascii_digit())
    })
}

fn is_bandwidth(text: &str) -> bool {
    text.starts_with("MB:") && !text.contains('\n')
}
