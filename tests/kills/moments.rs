//! Killed or interrupted at random moments of writing an image with many files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sysctr_tests::{Compose, Image, Listing, Output, Random, Root, Running, memory, number};
use tempfile::TempDir;

use crate::{BARE, expect_tree, manifest, renew, soak};

/// Random runs at a time.
const WORKERS: usize = 2;
/// How often a moment that was aimed at a phase may miss it: the machine is faster or slower than measured.
const MISSES: usize = 8;

/// What a flush takes, and a rename.
const FLUSH: Duration = Duration::from_millis(40);
const RENAME: Duration = Duration::from_millis(8);
/// All renames, as strace counts.
const QUICK: usize = 60_000;

/// How far a compose is, as its staging directory tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Contents of layers are being staged.
    Contents,
    /// Everything is being made beside.
    Assembling,
    /// The journal is there, nothing was changed yet.
    Prepared,
    /// Some or all changes are made.
    Swapping,
    /// The commit point is passed.
    Committed,
}

const PHASES: [Phase; 5] =
    [Phase::Contents, Phase::Assembling, Phase::Prepared, Phase::Swapping, Phase::Committed];

impl Phase {
    /// Of the compose that works, or was cut off, at `root`; `None` before and after it.
    fn of(root: &Path) -> Option<Self> {
        let staging = root.join("usr/lib/containers/atomic/.staging");
        let is = |path: &str| staging.join(path).symlink_metadata().is_ok();
        let Ok(journal) = std::fs::read(staging.join("journal")) else {
            let beside = if is("new") { Self::Assembling } else { Self::Contents };
            return is("").then_some(beside);
        };
        let journal: serde_json::Value = serde_json::from_slice(&journal).expect("a journal is JSON");
        if journal["state"] == "committed" {
            return Some(Self::Committed);
        }
        let operations = journal["operations"].as_array().expect("a journal has operations");
        let made = operations.iter().enumerate().any(|(number, operation)| {
            let puts = operation["kind"] == "put" || operation["kind"] == "make-directory";
            is(&format!("old/{number}")) || (puts && !is(&format!("new/{number}")))
        });
        Some(if made { Self::Swapping } else { Self::Prepared })
    }
}

/// A change of a root that has other containers, and everything needed to make it again and again.
struct Change {
    scratch: TempDir,
    image: Image,
    /// Both trees.
    before: Listing,
    after: Listing,
    /// Renames before the first journal: those of contents into their places.
    renames: usize,
    /// How long each phase is.
    lengths: BTreeMap<Phase, Duration>,
}

/// A moment: a phase, or all phases as one, and which part of it has passed.
#[derive(Debug, Clone, Copy)]
struct Moment {
    phase: Option<Phase>,
    part: f64,
}

impl Change {
    /// Adds a container of this image and changes another.
    fn adding(image: Image) -> Self {
        let (scratch, base) = (memory(), Root::small_in_memory());
        base.age();
        let empty = Listing::of(&base.path());
        let lengths = BTreeMap::new();
        let mut change = Self { scratch, image, before: empty.clone(), after: empty, renames: 0, lengths };
        let root = change.root(0);
        renew(&base.path(), &root);
        change.back(&root).run().expect_ok();
        renew(&root, &change.start());
        change.before = Listing::of(&root);
        change.measure(&root);
        change.after = Listing::of(&root);
        change
    }

    fn start(&self) -> PathBuf {
        self.scratch.path().join("start")
    }

    fn root(&self, worker: usize) -> PathBuf {
        self.scratch.path().join(format!("root-{worker}"))
    }

    /// To what is there before.
    fn back(&self, root: &Path) -> Compose {
        let hello = Image::hello();
        Compose::into_dir(root).manifest(manifest(&[("hello", &hello, "")])).with(&hello).add_launcher()
    }

    fn forward(&self, root: &Path) -> Compose {
        let hello = Image::hello();
        let changed = "run = { env = { SECOND = '1' } }";
        let text = manifest(&[("hello", &hello, changed), ("it", &self.image, BARE)]);
        Compose::into_dir(root).manifest(text).with(&hello).with(&self.image).add_launcher()
    }

    /// Starts the change as on a slow disk: each flush, and each rename but the first `quick` ones, takes some time, so
    /// that the instants between them can be hit at all.
    fn begin(forward: &Compose, quick: usize, log: &Path) -> Running {
        let flushes = format!("inject=fsync,syncfs:delay_enter={}", FLUSH.as_micros());
        let renames = format!("inject=renameat:delay_enter={}:when={}+", RENAME.as_micros(), quick + 1);
        let strace =
            ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,syncfs,renameat", "-e"];
        let strace = strace.into_iter().chain([&*flushes, "-e", &renames, "-o"]).map(Path::new);
        forward.command().under(strace.chain([log])).start()
    }

    /// Makes the change once, to know how long each phase is.
    fn measure(&mut self, root: &Path) {
        let (forward, log) = (self.forward(root), self.scratch.path().join("log"));
        let mut running = Self::begin(&forward, QUICK, &log);
        let (mut begins, mut end) = (BTreeMap::new(), Instant::now());
        while !running.has_ended() {
            if let Some(phase) = Phase::of(root) {
                end = Instant::now();
                begins.entry(phase).or_insert(end);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        running.end().expect_ok();
        assert_eq!(begins.keys().copied().collect::<Vec<_>>(), PHASES, "an undisturbed compose");
        for phase in PHASES {
            let next = begins.range(phase..).nth(1).map_or(end, |(_, instant)| *instant);
            self.lengths.insert(phase, next - begins[&phase]);
        }
        let log = std::fs::read_to_string(&log).expect("strace's log");
        let renames: Vec<_> = log.lines().filter(|line| line.contains("renameat(")).collect();
        let journals: Vec<_> =
            (0..renames.len()).filter(|at| renames[*at].contains("\"journal.new\"")).collect();
        let [prepared, committed] = journals[..] else {
            panic!("a change writes two journals: {journals:?}")
        };
        self.renames = prepared;
        let changes = u32::try_from(committed - prepared).expect("few changes");
        *self.lengths.entry(Phase::Swapping).or_default() += RENAME * changes;
        println!("{}, {prepared} + {changes} renames: {:?}", self.image.in_manifest(), self.lengths);
    }

    /// Sends `signal` at `moment`; tells the phase that it hit, and what the program said.
    fn disturb(
        &self,
        forward: &Compose,
        root: &Path,
        moment: Moment,
        signal: Signal,
    ) -> (Option<Phase>, Output) {
        renew(&self.start(), root);
        let mut running = Self::begin(forward, self.renames, Path::new("/dev/null"));
        while Phase::of(root) < Some(moment.phase.unwrap_or(Phase::Contents)) && !running.has_ended() {
            std::thread::sleep(Duration::from_micros(100));
        }
        let length = moment.phase.map_or_else(|| self.lengths.values().sum(), |phase| self.lengths[&phase]);
        std::thread::sleep(length.mul_f64(moment.part));
        let now = Phase::of(root);
        running.signal(signal);
        let output = running.end();
        // After a kill it is known exactly.
        (if signal == Signal::KILL { Phase::of(root) } else { now }, output)
    }

    /// Disturbs at `count` moments, every so many of them aimed at each phase; `check` is told the root, both composes,
    /// which one it is, and what happened.
    fn disturb_often(&self, title: &str, count: usize, signals: &[Signal], check: &Check<'_>) {
        let seed = number("SYSCTR_SEED").unwrap_or_else(|| std::process::id().into());
        println!("{title}: {count} moments, SYSCTR_SEED={seed}");
        let (next, hits) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = |worker: usize| {
            let root = self.root(worker);
            let (forward, back) = (self.forward(&root), self.back(&root));
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let mut random = Random::of(seed.wrapping_add(number as u64));
                let signal = signals[number % signals.len()];
                let aim = [&[None], &PHASES.map(Some)[..]].concat()[number % (PHASES.len() + 1)];
                for misses in 1..=MISSES {
                    // Who missed was late.
                    let moment = Moment { phase: aim, part: random.fraction() / misses as f64 };
                    let (hit, output) = self.disturb(&forward, &root, moment, signal);
                    println!("{title} {number}: signal {} at {moment:.3?} hit {hit:?}", signal.as_raw());
                    *hits.lock().expect("no worker failed").entry(hit).or_insert(0) += 1;
                    check(&Disturbed {
                        change: self,
                        root: &root,
                        forward: &forward,
                        back: &back,
                        number,
                        hit,
                        output,
                    });
                    if aim.is_none() || aim == hit {
                        break;
                    }
                }
            }
        };
        std::thread::scope(|scope| (0..WORKERS).for_each(|worker| drop(scope.spawn(move || work(worker)))));
        let hits = hits.into_inner().expect("no worker failed");
        println!("{title}: {hits:?}");
        for phase in PHASES {
            assert!(hits.contains_key(&Some(phase)), "no moment hit {phase:?}: {hits:?}");
        }
    }
}

type Check<'a> = dyn Fn(&Disturbed<'_>) + Sync + 'a;

/// A compose that was disturbed.
struct Disturbed<'a> {
    change: &'a Change,
    root: &'a Path,
    forward: &'a Compose,
    back: &'a Compose,
    number: usize,
    hit: Option<Phase>,
    output: Output,
}

/// After a kill, the next run: each third is the same again, others lead back; each fourth is killed itself before.
fn expect_ended(killed: &Disturbed<'_>) {
    let Disturbed { change, root, number, hit, .. } = killed;
    // Another way at the next moment that is aimed at the same phase.
    let way = number + number / (PHASES.len() + 1);
    let forward = way.is_multiple_of(3);
    let (next, expected) =
        if forward { (killed.forward, &change.after) } else { (killed.back, &change.before) };
    if way % 4 == 1 {
        let mut running = next.command().start();
        std::thread::sleep(Duration::from_millis(*number as u64 * 7 % 300));
        running.signal(Signal::KILL);
        running.end();
    }
    let output = next.run().expect_ok();
    expect_tree(root, expected, || {
        format!("kill {number} at {hit:?}, forward: {forward}; {}", output.story())
    });
}

/// After an interrupt: nothing was done and it is said so, or all of it.
fn expect_given_up(interrupted: &Disturbed<'_>) {
    let Disturbed { change, root, hit, output, .. } = interrupted;
    let story = || format!("interrupted at {hit:?}: {}", output.story());
    let done = output.code() == 0 && *hit >= Some(Phase::Swapping) || hit.is_none();
    if done {
        return expect_tree(root, &change.after, story);
    }
    let said = output.stderr();
    let told = said.starts_with("sysctr-compose: ")
        && said.ends_with(": interrupted\n")
        && said.lines().count() == 1;
    assert!(output.code() == 1 && output.stdout().is_empty() && told, "{}", story());
    expect_tree(root, &change.before, story);
}

#[test]
fn many_files_killed_at_random_moments() {
    let change = Change::adding(Image::many());
    assert!(change.renames > 15_000, "{}", change.renames);
    change.disturb_often("kill", if soak() { 100 } else { 8 }, &[Signal::KILL], &expect_ended);
}

#[test]
fn an_interrupt_at_any_moment_leaves_nothing() {
    let change = Change::adding(Image::nginx());
    let signals = [Signal::INT, Signal::TERM, Signal::HUP];
    change.disturb_often("interrupt", if soak() { 60 } else { 8 }, &signals, &expect_given_up);
}
