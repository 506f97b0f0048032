//! Random histories of a host end where a small model says: what is active, what can be gone back to, what is kept.
//!
//! `SYSCTR_SEED` repeats a run; `SYSCTR_SOAK` makes it long.

use std::collections::{BTreeMap, BTreeSet};

use sysctr_tests::{Command, Random, number, soak};

use crate::bench::version;
use crate::desk::Desk;

const IMAGES: usize = 3;
const HOSTS: usize = 3;

/// What `/etc` of one deployment says, and which host image it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Deployment {
    host: usize,
    link: Option<u64>,
    generations: BTreeMap<u64, Generation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Generation {
    image: usize,
    /// The host image that it was made for.
    origin: usize,
    held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Update(usize),
    Rollback,
    RollbackTo(u64),
    Reset,
    Hold,
    Unhold,
    Gc,
    HostUpdate,
    HostRollback,
}

#[derive(Debug, Clone)]
struct Model {
    /// By the number of their directory; the second is there to go back to.
    deployments: BTreeMap<usize, Deployment>,
    here: usize,
    /// The highest number that was given away.
    highest: u64,
    bundles: BTreeSet<u64>,
}

impl Model {
    fn new() -> Self {
        let first = Deployment { host: 0, link: None, generations: BTreeMap::new() };
        Self { deployments: [(0, first)].into(), here: 0, highest: 0, bundles: BTreeSet::new() }
    }

    fn deployment(&mut self) -> &mut Deployment {
        self.deployments.get_mut(&self.here).expect("the deployment that runs")
    }

    /// What is active, and why.
    fn active(&self) -> (String, &'static str) {
        let Deployment { host, link, generations } = &self.deployments[&self.here];
        let Some(number) = link else { return ("embedded".to_owned(), "shipped") };
        let generation = &generations[number];
        match generation {
            Generation { held: true, .. } => (format!("web.{number}"), "held"),
            Generation { origin, .. } if origin == host => (format!("web.{number}"), "updated"),
            Generation { .. } => ("embedded".to_owned(), "superseded"),
        }
    }

    /// Whether it is done.
    fn act(&mut self, act: Act) -> bool {
        let (active, why) = self.active();
        let Deployment { host, link, generations } = self.deployment().clone();
        match act {
            Act::Update(_) | Act::Rollback | Act::RollbackTo(_) | Act::Reset if why == "held" => {
                return false;
            }
            Act::Update(image) => {
                let same =
                    link.is_some_and(|number| active != "embedded" && generations[&number].image == image);
                if !same {
                    self.highest += 1;
                    let number = self.highest;
                    let made = Generation { image, origin: host, held: false };
                    self.deployment().generations.insert(number, made);
                    self.deployment().link = Some(number);
                    self.bundles.insert(number);
                }
                self.collect();
            }
            Act::Rollback => {
                let Some(link) = link else { return false };
                let runs = |(_, it): &(&u64, &Generation)| it.held || it.origin == host;
                self.deployment().link = generations.range(..link).rfind(runs).map(|(number, _)| *number);
            }
            Act::RollbackTo(number) => {
                let runs = generations.get(&number).is_some_and(|it| it.held || it.origin == host);
                if !runs || link == Some(number) {
                    return false;
                }
                self.deployment().link = Some(number);
            }
            Act::Reset => self.deployment().link = None,
            Act::Hold | Act::Unhold => {
                let Some(link) = link else { return false };
                if act == Act::Hold && active == "embedded" {
                    return false;
                }
                self.deployment().generations.get_mut(&link).expect("the active one").held = act == Act::Hold;
            }
            Act::Gc => self.collect(),
            Act::HostUpdate => {
                let new = Deployment { host: (host + 1) % HOSTS, link, generations };
                let number = self.deployments.keys().max().expect("one runs") + 1;
                let here = self.here;
                self.deployments.retain(|other, _| *other == here);
                self.deployments.insert(number, new);
                self.here = number;
            }
            Act::HostRollback => {
                let here = self.here;
                let Some(other) = self.deployments.keys().find(|other| **other != here) else { return false };
                self.here = *other;
            }
        }
        true
    }

    fn collect(&mut self) {
        let deployment = self.deployment();
        let link = deployment.link;
        let others: Vec<_> =
            deployment.generations.keys().rev().filter(|number| Some(**number) != link).collect();
        let old: Vec<_> = others.iter().skip(2).map(|number| **number).collect();
        deployment.generations.retain(|number, it| it.held || !old.contains(number));
        self.bundles = self.deployments.values().flat_map(|it| it.generations.keys().copied()).collect();
    }
}

struct Play {
    desk: Desk,
    model: Model,
    random: Random,
    story: String,
}

impl Play {
    fn choose(&mut self) -> Act {
        match self.random.below(20) {
            0..=6 => Act::Update(self.random.below(IMAGES)),
            7..=9 => Act::Rollback,
            10 => Act::RollbackTo(
                1 + self.random.below(usize::try_from(self.model.highest).expect("small") + 1) as u64,
            ),
            11 => Act::Reset,
            12 => Act::Hold,
            13 => Act::Unhold,
            14 | 15 => Act::Gc,
            16 | 17 => Act::HostUpdate,
            _ => Act::HostRollback,
        }
    }

    fn arguments(act: Act) -> Option<String> {
        Some(match act {
            Act::Update(image) => format!("update web --image oci:/images/{image}"),
            Act::Rollback => "rollback web".to_owned(),
            Act::RollbackTo(number) => format!("rollback web --to {number}"),
            Act::Reset => "reset web".to_owned(),
            Act::Hold => "hold web".to_owned(),
            Act::Unhold => "unhold web".to_owned(),
            Act::Gc => "gc".to_owned(),
            Act::HostUpdate | Act::HostRollback => return None,
        })
    }

    /// What the host's own tools do: `/etc` of the new deployment is a copy.
    fn move_host(&mut self, before: usize) {
        let there: Vec<_> = self.model.deployments.keys().copied().collect();
        let (from, to) = (self.desk.etc(before), self.desk.etc(self.model.here));
        if !to.exists() {
            Command::new("cp").arg("-a").arg(from).arg(to).run().expect_ok();
        }
        for entry in std::fs::read_dir(self.desk.state().join("etc")).expect("deployments") {
            let path = entry.expect("a deployment").path();
            let number: usize =
                path.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
            if !there.contains(&number) {
                std::fs::remove_dir_all(path).expect("an old deployment");
            }
        }
        self.desk.here = (self.model.here, self.model.deployments[&self.model.here].host);
    }

    fn step(&mut self) {
        let act = self.choose();
        let before = self.model.here;
        let cut = self.random.below(4) == 0;
        self.story += &format!("{act:?}{}\n", if cut { ", cut off" } else { "" });
        match Self::arguments(act) {
            None => {
                self.model.act(act);
                self.move_host(before);
            }
            Some(arguments) if cut => self.cut_off(act, &arguments),
            Some(arguments) => {
                let output = self.desk.sysctr(&[], &arguments);
                let done = self.model.act(act);
                assert_eq!(output.code() == 0, done, "{}{}", self.story, output.story());
            }
        }
        self.compare();
    }

    /// Killed at some call, or not when it makes fewer of them. Before or after, the next command tidies up.
    fn cut_off(&mut self, act: Act, arguments: &str) {
        let call = ["renameat", "rename", "fsync", "unlink", "unlinkat", "linkat", "write", "mkdir"]
            [self.random.below(8)];
        let number = 1 + self.random.below(6);
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={number}"));
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        self.desk.sysctr(&strace, arguments);
        let mut after = self.model.clone();
        after.act(act);
        self.desk.sysctr(&[], "gc").expect_ok();
        for model in [&mut self.model, &mut after] {
            model.act(Act::Gc);
        }
        let status = self.desk.status();
        let generations: BTreeSet<u64> = status["generations"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(serde_json::Value::as_u64)
            .collect();
        let fits = |model: &Model| {
            let held = |model: &Model| model.active().1 == "held";
            status["active"] == model.active().0
                && (status["why"] == "held") == held(model)
                && generations == model.deployments[&model.here].generations.keys().copied().collect()
        };
        if !fits(&self.model) {
            assert!(
                fits(&after),
                "{}neither before nor after: {status}\n{:?}\n{after:?}",
                self.story,
                self.model
            );
            self.model = after;
        }
        let given =
            std::fs::read_to_string(self.desk.state().join("var/atomic/.web.number")).unwrap_or_default();
        self.model.highest = given.trim().parse().unwrap_or(0).max(self.model.highest);
    }

    fn compare(&self) {
        let status = self.desk.status();
        let (active, why) = self.model.active();
        assert_eq!(
            (status["active"].as_str(), status["why"].as_str()),
            (Some(&*active), Some(why)),
            "{}",
            self.story
        );
        let spelled = |numbers: &mut dyn Iterator<Item = &u64>| {
            numbers.map(|it| format!("web.{it}")).collect::<BTreeSet<_>>()
        };
        for (number, deployment) in &self.model.deployments {
            let described = spelled(&mut deployment.generations.keys());
            assert_eq!(self.desk.described(*number), described, "{}deployment {number}", self.story);
        }
        assert_eq!(self.desk.bundles(), spelled(&mut self.model.bundles.iter()), "{}", self.story);
    }
}

#[test]
fn histories_end_where_the_model_says() {
    let seed = number("SYSCTR_SEED").unwrap_or(0x5eed);
    let (plays, steps) = if soak() { (12, 60) } else { (2, 30) };
    for play in 0..plays {
        let images: Vec<_> = (0..IMAGES).map(|image| version(&image.to_string())).collect();
        let story = format!("SYSCTR_SEED={seed}, play {play}:\n");
        let random = Random(seed + 7919 * play);
        let mut play = Play { desk: Desk::new(&images, HOSTS), model: Model::new(), random, story };
        for _ in 0..steps {
            play.step();
        }
        // Nothing unreachable stays, nothing reachable goes, and the store is whole.
        for _ in 0..2 {
            play.desk.sysctr(&[], "gc").expect_ok();
            play.model.act(Act::Gc);
            play.compare();
        }
        play.desk.assert_store_clean(&play.story);
    }
}
