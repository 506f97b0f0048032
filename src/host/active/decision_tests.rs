use std::collections::BTreeMap;

use sysctr_core::generation::Tried;

use super::*;

const BOOT: &str = "this boot";

fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn embedded(what: &str) -> Option<Shipped> {
    Some(Shipped { origin: Digest::of(what.as_bytes()), fallback: Fallback::None })
}

fn made_from(what: &str) -> Known {
    let origin = if what.is_empty() { Origin::None } else { Origin::Embedded(Digest::of(what.as_bytes())) };
    Known { origin, hold: Hold::Free, trial: None }
}

fn on_trial(known: Known, boot: &str, before: Option<u64>) -> Known {
    let trial = Trial { version: 1, boot: boot.to_owned(), of: Tried::New, before: before.map(number) };
    Known { trial: Some(trial), ..known }
}

/// What runs, with the generations 1 and 2.
fn decided(
    link: Option<u64>,
    embedded: Option<Shipped>,
    one: Result<Known, Unusable>,
    two: Result<Known, Unusable>,
) -> Result<(Choice, Why), Refused> {
    let all = BTreeMap::from([(number(1), one), (number(2), two)]);
    let link = link.map_or(Link::Absent, |link| Link::To(number(link)));
    let facts = Facts { link, embedded, boot: BOOT.to_owned() };
    let gone = || Err(Unusable::Broken("gone".to_owned()));
    let decision = facts.decide(|number| all.get(&number).cloned().unwrap_or_else(gone));
    decision.map(|Decision { choice, why }| (choice, why))
}

#[test]
fn what_runs() {
    let broken = || Err(Unusable::Broken("it is broken".to_owned()));
    let newer = || Err(Unusable::Newer("it is newer".to_owned()));
    let (one, two) = (Choice::Generation(number(1)), Choice::Generation(number(2)));
    let (a, held) = (|| Ok(made_from("a")), || Ok(Known { hold: Hold::Held, ..made_from("a") }));
    let falls_back = embedded("a").map(|shipped| Shipped { fallback: Fallback::Embedded, ..shipped });
    for (case, got, expected) in [
        ("nothing", decided(None, None, a(), a()), Err(Refused::Unknown)),
        ("no link", decided(None, embedded("a"), a(), a()), Ok((Choice::Embedded, Why::Shipped))),
        ("an update", decided(Some(2), embedded("a"), a(), a()), Ok((two, Why::Updated))),
        (
            "a host update",
            decided(Some(2), embedded("b"), a(), a()),
            Ok((Choice::Embedded, Why::Superseded(number(2)))),
        ),
        ("held over it", decided(Some(2), embedded("b"), a(), held()), Ok((two, Why::Held))),
        ("held", decided(Some(2), embedded("a"), a(), held()), Ok((two, Why::Held))),
        ("embedded no longer", decided(Some(1), None, a(), a()), Ok((one, Why::Orphan))),
        ("installed", decided(Some(1), None, Ok(made_from("")), a()), Ok((one, Why::Installed))),
        (
            "installed, then embedded",
            decided(Some(1), embedded("a"), Ok(made_from("")), a()),
            Ok((Choice::Embedded, Why::Superseded(number(1)))),
        ),
        ("broken", decided(Some(1), embedded("a"), broken(), a()), refused(&broken())),
        ("broken, with a fallback", decided(Some(1), falls_back, broken(), a()), stood_in(&broken())),
        ("broken, nothing embedded", decided(Some(1), None, broken(), a()), refused(&broken())),
        ("newer", decided(Some(1), embedded("a"), newer(), a()), stood_in(&newer())),
        ("newer, nothing embedded", decided(Some(1), None, newer(), a()), refused(&newer())),
    ] {
        assert_eq!(got, expected, "{case}");
    }
}

#[test]
fn what_runs_after_a_trial() {
    let broken = || Err(Unusable::Broken("it is broken".to_owned()));
    let (one, two) = (Choice::Generation(number(1)), Choice::Generation(number(2)));
    let a = || Ok(made_from("a"));
    let trial = |boot, before| Ok(on_trial(made_from("a"), boot, before));
    for (case, got, expected) in [
        ("a trial", decided(Some(2), embedded("a"), a(), trial(BOOT, Some(1))), Ok((two, Why::Trial))),
        (
            "a trial of another boot",
            decided(Some(2), embedded("a"), a(), trial("x", Some(1))),
            Ok((one, Why::Unproven(number(2)))),
        ),
        (
            "the first trial",
            decided(Some(2), embedded("a"), a(), trial("x", None)),
            Ok((Choice::Embedded, Why::Unproven(number(2)))),
        ),
        ("of an installed one", decided(Some(2), None, a(), trial("x", None)), Err(Refused::Unknown)),
        (
            "a trial, and the host was updated",
            decided(Some(2), embedded("b"), a(), trial("x", Some(1))),
            Ok((Choice::Embedded, Why::Unproven(number(2)))),
        ),
        (
            "two trials",
            decided(Some(2), embedded("a"), trial("y", None), trial("x", Some(1))),
            Ok((Choice::Embedded, Why::Unproven(number(2)))),
        ),
        (
            "trials in a circle",
            decided(Some(2), embedded("a"), trial("y", Some(2)), trial("x", Some(1))),
            Ok((two, Why::Unproven(number(2)))),
        ),
        (
            "before is broken",
            decided(Some(2), embedded("a"), broken(), trial("x", Some(1))),
            refused(&broken()),
        ),
    ] {
        assert_eq!(got, expected, "{case}");
    }
}

fn refused(why: &Result<Known, Unusable>) -> Result<(Choice, Why), Refused> {
    Err(Refused::Unusable(why.clone().unwrap_err()))
}

fn stood_in(why: &Result<Known, Unusable>) -> Result<(Choice, Why), Refused> {
    Ok((Choice::Embedded, Why::Unusable(why.clone().unwrap_err())))
}

#[test]
fn a_link_that_names_nothing() {
    let facts = |embedded| Facts {
        link: Link::Unreadable("it is a file".to_owned()),
        embedded,
        boot: BOOT.to_owned(),
    };
    let look = |_| -> Result<Known, Unusable> { panic!("there is nothing to look at") };
    let unusable = Unusable::Broken("it is a file".to_owned());
    assert_eq!(facts(embedded("a")).decide(look), Err(Refused::Unusable(unusable.clone())));
    let falls_back = embedded("a").map(|shipped| Shipped { fallback: Fallback::Embedded, ..shipped });
    let decision = facts(falls_back).decide(look).unwrap();
    assert_eq!(decision, Decision { choice: Choice::Embedded, why: Why::Unusable(unusable) });
}
