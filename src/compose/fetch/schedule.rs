//! Several tasks at once, but never two that would fetch the same blob.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Error, Result};
use sysctr_core::digest::Digest;

struct State<H, R> {
    /// Numbers of tasks that nobody looked at yet, the last one first.
    unseen: Vec<usize>,
    /// How many are being looked at now.
    looking: usize,
    /// Tasks that can begin, with what was seen.
    ready: Vec<(usize, H)>,
    /// Blobs that somebody fetches now.
    busy: BTreeSet<Digest>,
    done: BTreeMap<usize, R>,
    /// The first one; nothing is begun after it.
    error: Option<Error>,
}

/// What a thread does next.
enum Step<H> {
    Look(usize),
    Act(usize, H, BTreeSet<Digest>),
}

/// Looks at every task and then does `act` for it, at most `jobs` at once, and begins none while a blob that it `needs` is
/// being fetched by another. Results are in the tasks' order.
///
/// # Errors
/// The first error; what was under way was finished.
pub fn run<T: Sync, H: Send, R: Send>(
    tasks: &[T],
    jobs: usize,
    look: impl Fn(&T) -> Result<H> + Sync,
    needs: impl Fn(&H) -> BTreeSet<Digest> + Sync,
    act: impl Fn(&T, &H) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let state = State {
        unseen: (0..tasks.len()).rev().collect(),
        looking: 0,
        ready: Vec::new(),
        busy: BTreeSet::new(),
        done: BTreeMap::new(),
        error: None,
    };
    let (state, changed) = (Mutex::new(state), Condvar::new());
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || {
        let mut state = lock();
        loop {
            match state.next(&needs) {
                Some(step) => return Some(step),
                None if state.is_over() => return None,
                None => state = changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    };
    let work = || {
        while let Some(step) = next() {
            match step {
                Step::Look(number) => {
                    let seen = look(&tasks[number]);
                    lock().seen(number, seen);
                }
                Step::Act(number, seen, blobs) => {
                    let result = act(&tasks[number], &seen);
                    lock().ended(number, &blobs, result);
                }
            }
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| (0..jobs.min(tasks.len())).for_each(|_| drop(scope.spawn(work))));
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => Ok(state.done.into_values().collect()),
    }
}

impl<H, R> State<H, R> {
    /// The next step: a task whose blobs nobody fetches now, else one to look at. `None`: nothing now.
    fn next(&mut self, needs: impl Fn(&H) -> BTreeSet<Digest>) -> Option<Step<H>> {
        if self.error.is_some() {
            return None;
        }
        for at in 0..self.ready.len() {
            let blobs = needs(&self.ready[at].1);
            if self.busy.is_disjoint(&blobs) {
                let (number, seen) = self.ready.remove(at);
                self.busy.extend(&blobs);
                return Some(Step::Act(number, seen, blobs));
            }
        }
        let number = self.unseen.pop()?;
        self.looking += 1;
        Some(Step::Look(number))
    }

    /// Whether no step will come any more.
    fn is_over(&self) -> bool {
        self.error.is_some() || self.unseen.is_empty() && self.looking == 0 && self.ready.is_empty()
    }

    fn seen(&mut self, number: usize, seen: Result<H>) {
        self.looking -= 1;
        match seen {
            Ok(seen) => self.ready.push((number, seen)),
            Err(error) => drop(self.error.get_or_insert(error)),
        }
    }

    fn ended(&mut self, number: usize, blobs: &BTreeSet<Digest>, result: Result<R>) {
        self.busy.retain(|blob| !blobs.contains(blob));
        match result {
            Ok(done) => drop(self.done.insert(number, done)),
            Err(error) => drop(self.error.get_or_insert(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_blob_is_fetched_twice_at_once_and_the_order_stays() {
        let blob = |n: usize| Digest::of(&[n as u8]);
        let tasks: Vec<usize> = (0..24).collect();
        let busy: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let together = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let results = run(
            &tasks,
            4,
            |n| Ok(*n),
            |n| [blob(n % 3)].into(),
            |n, seen| {
                assert_eq!(n, seen);
                assert_eq!(busy[n % 3].fetch_add(1, Ordering::SeqCst), 0, "two at once");
                most.fetch_max(together.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                together.fetch_sub(1, Ordering::SeqCst);
                busy[n % 3].fetch_sub(1, Ordering::SeqCst);
                Ok(*n)
            },
        );
        assert_eq!(results.unwrap(), tasks);
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn after_an_error_nothing_is_begun() {
        let begun = AtomicUsize::new(0);
        let result = run(
            &[0; 50],
            2,
            |_| Ok(()),
            |()| BTreeSet::new(),
            |_, ()| -> Result<()> {
                begun.fetch_add(1, Ordering::SeqCst);
                anyhow::bail!("no")
            },
        );
        assert_eq!(result.unwrap_err().to_string(), "no");
        assert!(begun.load(Ordering::SeqCst) <= 2);
    }

    /// What blocked a task may come by another: then it waits no longer.
    #[test]
    fn what_came_meanwhile_keeps_nobody_waiting() {
        let base = Digest::of(b"base");
        let came = std::sync::atomic::AtomicBool::new(false);
        let (together, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let needs = |(): &()| if came.load(Ordering::SeqCst) { BTreeSet::new() } else { [base].into() };
        let act = |_: &u8, (): &()| {
            most.fetch_max(together.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(if came.swap(true, Ordering::SeqCst) {
                200
            } else {
                2
            }));
            together.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        run(&[0; 5], 4, |_| Ok(()), needs, act).unwrap();
        assert!(most.load(Ordering::SeqCst) > 1, "one after another");
    }
}
