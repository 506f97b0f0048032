//! How the cost grows with the number of containers, files, bytes and layers, and with the host: time, and memory of the
//! largest process. Every series is drawn as a picture below `docs/plots/`.

use std::fmt::Write as _;
use std::path::Path;

use sysctr_tests::{Command, Layer, Layout, Packing, Program, Random, Root, fixture, scratch, source_dir};

use crate::rounds::{Bytes, Measured, measured};
use crate::rows::{Row, Rows, Verdict};

/// The most memory: this, and a part for each entry above 100 000 (design, "Numbers to reach").
const MEMORY: u64 = 128 << 20;
const MEMORY_AN_ENTRY: u64 = 400;
const FREE_ENTRIES: u64 = 100_000;

/// The points of one series.
struct Series {
    /// Its name, and that of its picture.
    name: &'static str,
    /// What grows.
    unit: &'static str,
    points: Vec<(u64, Measured)>,
    verdict: Verdict,
}

impl Series {
    fn new(name: &'static str, unit: &'static str) -> Self {
        println!("  {name}");
        Self { name, unit, points: Vec::new(), verdict: Verdict::Met }
    }

    /// One more point, of an image with so many entries.
    fn point(&mut self, size: u64, entries: u64, measured: Measured) {
        let most = Bytes(MEMORY + MEMORY_AN_ENTRY * entries.saturating_sub(FREE_ENTRIES));
        let met = Verdict::of(measured.memory <= most);
        println!(
            "  {size:>10} {:10} {:>8.2} s {:>8.2} s CPU {:>12}; asked {most}: {met}",
            self.unit,
            measured.wall.as_secs_f64(),
            measured.cpu.as_secs_f64(),
            measured.memory.to_string(),
        );
        self.points.push((size, measured));
        self.verdict = self.verdict.and(met);
    }

    /// Draws it.
    fn done(self) -> Rows {
        let plots = source_dir().join("docs/plots");
        std::fs::create_dir_all(&plots).expect("a directory in the source tree");
        let mut script = format!(
            "set terminal svg size 640,360 name '{name}'\nset output '{name}.svg'\nset logscale xy\nset grid\nset key top left\n\
             set xlabel '{unit}'\nset ylabel 'seconds'\nset y2label 'MiB'\nset logscale y2\nset y2tics\nset ytics nomirror\n$points << END\n",
            name = self.name,
            unit = self.unit,
        );
        for (size, measured) in &self.points {
            let mib = measured.memory.0 / (1 << 20);
            let (wall, cpu) = (measured.wall.as_secs_f64(), measured.cpu.as_secs_f64());
            writeln!(script, "{size} {wall:.3} {cpu:.3} {mib}").expect("memory takes it");
        }
        script.push_str(
            "END\nplot $points using 1:2 with linespoints title 'wall time', \
             $points using 1:3 with linespoints title 'CPU time', \
             $points using 1:4 axes x1y2 with linespoints title 'memory'\n",
        );
        Command::new("gnuplot").input(script).in_dir(&plots).run().expect_ok();
        let most = self.points.iter().map(|(_, measured)| measured.memory).max();
        Row {
            work: format!("growth with {}, memory", self.name),
            found: format!("{} at most", most.expect("a point")),
            asked: format!("{} and {MEMORY_AN_ENTRY} B an entry above {FREE_ENTRIES}", Bytes(MEMORY)),
            verdict: self.verdict,
        }
        .into()
    }
}

/// Composes a manifest into a fresh small root, several times; the median run. In memory: what a disk makes of so many new files
/// varies by more than what is asked here (docs/performance.md, "Layers").
fn into_root(work: &Path, manifest: &str, rounds: usize) -> Measured {
    std::fs::write(work.join("containers.toml"), manifest).expect("a manifest");
    let runs = (0..rounds).map(|_| {
        let root = Root::small_in_memory();
        let compose = Command::new(Program::Composer.path()).arg("--sysroot").arg(root.path());
        let compose = compose.arg("--add-launcher").arg(Program::Launcher.path());
        measured(
            compose.args(["-m", "containers.toml", "--max-bytes", "20000000000"]).in_dir(work),
            &root.path(),
        )
    });
    Measured::median(runs.collect())
}

fn one(name: &str) -> String {
    format!("group = 'bench'\n[[container]]\nname = '{name}'\nimage = 'oci:{name}:1'\n")
}

/// Files of a hundred bytes, a thousand in a directory.
fn small_files(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut layer = Layer::new();
    for number in numbers {
        let (dir, name) = (number / 1000, number % 1000);
        if name == 0 {
            layer = layer.dir(&format!("d{dir}"));
        }
        layer = layer.file(&format!("d{dir}/f{name}"), format!("{number:0>100}"));
    }
    layer.bytes()
}

/// Each with a thousand files that no other has.
pub fn containers(rounds: usize) -> Rows {
    let work = scratch();
    let mut series = Series::new("containers", "containers");
    let mut manifest = String::from("group = 'bench'\n");
    let mut made = 0;
    for count in [1, 10, 100] {
        for number in made..count {
            let layout = Layout::new(&work.path().join(format!("c{number}")));
            let layer = layout.layer(&small_files(number * 1000..(number + 1) * 1000), Packing::Gzip);
            layout.whole(&[layer]);
            writeln!(manifest, "[[container]]\nname = 'c{number}'\nimage = 'oci:c{number}:1'")
                .expect("memory takes it");
        }
        made = count;
        series.point(count, 1000, into_root(work.path(), &manifest, rounds));
    }
    series.done()
}

pub fn files(rounds: usize) -> Rows {
    const A_LAYER: u64 = 100_000;
    let mut series = Series::new("files", "files");
    for count in [10_000, 100_000, 1_000_000] {
        let work = scratch();
        let layout = Layout::new(&work.path().join("files"));
        let begins = (0..count).step_by(usize::try_from(A_LAYER).expect("it fits"));
        let layers: Vec<_> = begins
            .map(|begin| layout.layer(&small_files(begin..count.min(begin + A_LAYER)), Packing::Gzip))
            .collect();
        layout.whole(&layers);
        series.point(count, count + count / 1000, into_root(work.path(), &one("files"), rounds));
    }
    series.done()
}

/// Files of 16 MiB that don't compress.
pub fn bytes(rounds: usize) -> Rows {
    const FILE: u64 = 16 << 20;
    const A_LAYER: u64 = 32;
    let mut series = Series::new("bytes", "MB");
    for megabytes in [16_u64, 128, 1024, 8192] {
        let work = scratch();
        let layout = Layout::new(&work.path().join("bytes"));
        let files = megabytes / 16;
        let layers: Vec<_> = (0..files.div_ceil(A_LAYER))
            .map(|layer| {
                let numbers = layer * A_LAYER..files.min((layer + 1) * A_LAYER);
                let size = usize::try_from(FILE).expect("it fits");
                let tar = numbers
                    .fold(Layer::new(), |tar, n| tar.file(&format!("f{n}"), Random::of(n + 1).bytes(size)));
                layout.layer(&tar.bytes(), Packing::Zstd(20))
            })
            .collect();
        layout.whole(&layers);
        series.point(megabytes, files, into_root(work.path(), &one("bytes"), rounds));
    }
    series.done()
}

/// The same 127 000 files.
pub fn layers(rounds: usize) -> Rows {
    const FILES: u64 = 127_000;
    let mut series = Series::new("layers", "layers");
    for count in [1, 8, 32, 127] {
        let work = scratch();
        let layout = Layout::new(&work.path().join("layers"));
        let share = FILES.div_ceil(count).next_multiple_of(1000);
        let ranges = (0..count).map(|layer| (layer * share).min(FILES)..((layer + 1) * share).min(FILES));
        let layers: Vec<_> = ranges.map(|range| layout.layer(&small_files(range), Packing::Gzip)).collect();
        layout.whole(&layers);
        series.point(count, FILES + FILES / 1000, into_root(work.path(), &one("layers"), rounds));
    }
    series.done()
}

/// A small image, its thousand files new each time, into commits on hosts of more and more files.
pub fn hosts(rounds: usize) -> Rows {
    let work = scratch();
    let host = fixture::directory("ostree-host").join("root.tar.zst");
    let shell = |script: String| {
        Command::new("bash").args(["-euo", "pipefail", "-c", &script]).in_dir(work.path()).run().expect_ok()
    };
    shell(format!(
        "mkdir host; tar --zstd --xattrs --numeric-owner -xpf {} -C host; ostree init --repo=repo --mode=archive",
        host.display()
    ));
    let mut series = Series::new("hosts", "more files of the host");
    let mut made = 0;
    for more in [1000, 10_000, 100_000] {
        let tar = work.path().join("more.tar");
        std::fs::write(&tar, small_files(made..more)).expect("room for a tar");
        made = more;
        shell(
            "mkdir -p host/usr/share/more; tar -xf more.tar -C host/usr/share/more; \
             ostree --repo=repo commit -b host --tree=dir=host"
                .to_owned(),
        );
        let runs = (0..rounds as u64).map(|round| {
            let name = format!("small-{more}-{round}");
            let layout = Layout::new(&work.path().join(&name));
            let begin = (more + round) * 1000;
            let layer = layout.layer(&small_files(begin..begin + 1000), Packing::Gzip);
            layout.whole(&[layer]);
            std::fs::write(work.path().join("containers.toml"), one(&name)).expect("a manifest");
            shell("ostree --repo=repo refs --delete out".to_owned());
            let compose = Command::new(Program::Composer.path())
                .args(["--repo", "repo", "--base", "host", "--ref", "out"]);
            let compose = compose.arg("--add-launcher").arg(Program::Launcher.path());
            measured(compose.args(["-m", "containers.toml"]).in_dir(work.path()), work.path())
        });
        series.point(more, 1000, Measured::median(runs.collect()));
    }
    series.done()
}
