//! Several tasks at once, but never two that would fetch the same blob.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Error, Result};
use sysctr_core::digest::Digest;

struct State<R> {
    /// Numbers of tasks that were not begun.
    waiting: Vec<usize>,
    /// Blobs that somebody fetches now.
    busy: BTreeSet<Digest>,
    done: BTreeMap<usize, R>,
    /// The first one; nothing is begun after it.
    error: Option<Error>,
}

/// Does `act` for every task, at most `jobs` at once, and begins none while a blob that it `needs` is being fetched by
/// another. Results are in the tasks' order.
///
/// # Errors
/// The first error; tasks under way were finished.
pub fn run<T: Sync, R: Send>(
    tasks: &[T],
    jobs: usize,
    needs: impl Fn(&T) -> BTreeSet<Digest> + Sync,
    act: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let state = State {
        waiting: (0..tasks.len()).collect(),
        busy: BTreeSet::new(),
        done: BTreeMap::new(),
        error: None,
    };
    let (state, changed) = (Mutex::new(state), Condvar::new());
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || {
        let mut state = lock();
        loop {
            if state.error.is_some() || state.waiting.is_empty() {
                return None;
            }
            match take(&mut state, tasks, &needs) {
                Some(taken) => return Some(taken),
                None => state = changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(|| {
                while let Some((number, blobs)) = next() {
                    let result = act(&tasks[number]);
                    let mut state = lock();
                    state.busy.retain(|blob| !blobs.contains(blob));
                    match result {
                        Ok(done) => drop(state.done.insert(number, done)),
                        Err(error) => drop(state.error.get_or_insert(error)),
                    }
                    drop(state);
                    changed.notify_all();
                }
            });
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => Ok(state.done.into_values().collect()),
    }
}

/// The first waiting task whose blobs nobody fetches now.
fn take<T, R>(
    state: &mut MutexGuard<'_, State<R>>,
    tasks: &[T],
    needs: impl Fn(&T) -> BTreeSet<Digest>,
) -> Option<(usize, BTreeSet<Digest>)> {
    for at in 0..state.waiting.len() {
        let blobs = needs(&tasks[state.waiting[at]]);
        if state.busy.is_disjoint(&blobs) {
            state.busy.extend(&blobs);
            return Some((state.waiting.remove(at), blobs));
        }
    }
    None
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
            |n| [blob(n % 3)].into(),
            |n| {
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
            |_| BTreeSet::new(),
            |_| -> Result<()> {
                begun.fetch_add(1, Ordering::SeqCst);
                anyhow::bail!("no")
            },
        );
        assert_eq!(result.unwrap_err().to_string(), "no");
        assert!(begun.load(Ordering::SeqCst) <= 2);
    }
}
