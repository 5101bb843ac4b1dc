//! Under the policy `full` the journal has the values themselves, once each.

use std::collections::BTreeSet;

use interloom::Conclusion;
use interloom_journal::divergence::{Divergence, TensorDifference};
use interloom_journal::{Digest, Journal, JournalReader, Policy, Record, TensorLine, check};

use crate::plan::Plan;
use crate::{Recording, without_heads};

fn full() -> Plan {
    Plan {
        policy: Policy::Full,
        ..Plan::default()
    }
}

fn divergence(recorded: &Plan, live: &Plan) -> Divergence {
    match Recording::of(recorded).verify(live) {
        Conclusion::Verified {
            divergence: Some(divergence),
            ..
        } => without_heads(*divergence),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_tensor_is_kept_once_and_before_its_first_use() {
    let recording = Recording::of(&full());
    let (mut kept, mut named) = (Vec::new(), 0);
    for record in JournalReader::open(recording.path()).unwrap().records() {
        match record.unwrap() {
            Record::Tensor(tensor) => {
                assert_eq!(
                    Digest::of_tensor(tensor.dtype, &tensor.shape, &tensor.bytes),
                    tensor.digest
                );
                kept.push(tensor.digest);
            }
            Record::Exchange(exchange) => {
                let mut check = |tensor: &TensorLine| {
                    named += 1;
                    let digest = tensor.digest;
                    assert!(
                        kept.contains(&digest),
                        "{digest} is named before it is kept"
                    );
                };
                if let Some(value) = &exchange.value {
                    value.for_each_leaf(&mut check);
                }
            }
            _ => {}
        }
    }
    // Two equal runs: up, act twice, the product, two halves, the logits.
    assert_eq!(named, 2 * 7);
    assert_eq!(kept.len(), 6);
    assert_eq!(kept.iter().collect::<BTreeSet<_>>().len(), kept.len());
}

#[test]
fn the_policy_digest_keeps_no_tensor() {
    let recording = Recording::of(&Plan::default());
    let records = JournalReader::open(recording.path()).unwrap().records();
    assert_eq!(
        records
            .filter(|record| matches!(record, Ok(Record::Tensor(_))))
            .count(),
        0
    );
}

#[test]
fn a_changed_intervention_is_shown_element_by_element() {
    let divergence = divergence(
        &full(),
        &Plan {
            scale: 2.000_000_2,
            ..full()
        },
    );
    let TensorDifference {
        elements,
        differing,
        ulp_max,
        not_numbers,
        ..
    } = divergence
        .tensor
        .as_ref()
        .expect("the journal has the bytes");
    assert_eq!((*elements, *ulp_max, *not_numbers), (16, Some(2), 0));
    assert!(*differing > 0 && differing < elements);
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 3 (run "run 0", site act.output.i0, mediator "scale")
      class: value (the same exchange carried another value)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE  watch  up.output.i0      f32[2, 8] b3:0208f76ca2a2
        1  VALUE  watch  act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
        2  VALUE  scale  act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
      - 3  SWAP   scale  act.output.i0     f32[2, 8] b3:e11913fd27b1  <- recorded
      + 3  SWAP   scale  act.output.i0     f32[2, 8] b3:6b70bb934cca  <- this run
        4  END    scale  at act.output.i0  (recorded next)
        5  VALUE  watch  split.output.i0   (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)  (recorded next)
      value digest: b3:e11913fd27b1 recorded, b3:6b70bb934cca in this run
      tensor: 6 of 16 elements differ, first at [0, 1]: 0x40180000 (2.375) recorded, 0x40180001 (2.3750002) in this run; at most 2 ulp apart (1.6e-7 relative)
      note: the schedules are equal up to here, and so is the value last served to "scale" (exchange 2) -> the mediator's own arithmetic differs
    "#);
}

#[test]
fn elements_are_compared_whatever_this_session_keeps() {
    let live = Plan {
        scale: 3.0,
        policy: Policy::Digest,
        ..Plan::default()
    };
    let divergence = divergence(&full(), &live);
    assert!(divergence.tensor.is_some());
}

#[test]
fn elements_within_a_tuple_are_compared() {
    let live = Plan {
        weight: Some(("split.gain", 5, 0.125)),
        ..full()
    };
    let divergence = divergence(&full(), &live);
    assert_eq!(divergence.site.as_deref(), Some("split.output.i0"));
    // Column 5 is column 1 of the second half; it is not zero in the first row only.
    let pair = divergence.tensors.as_ref().unwrap();
    assert_eq!((&*pair.place, &pair.shape[..]), ("[1]", &[2, 4][..]));
    let tensor = divergence
        .tensor
        .as_ref()
        .expect("the journal has the bytes");
    assert_eq!(
        (tensor.elements, tensor.differing, &tensor.first[..]),
        (8, 1, &[0, 1][..])
    );
}

#[test]
fn a_recording_that_keeps_digests_only_is_compared_by_them() {
    let live = Plan {
        scale: 3.0,
        ..full()
    };
    let divergence = divergence(&Plan::default(), &live);
    assert!(divergence.tensors.is_some());
    assert_eq!(divergence.tensor, None);
}

#[test]
fn a_sample_keeps_the_tensors_of_every_nth_exchange_and_of_no_other() {
    let plan = Plan {
        policy: Policy::sampled(3),
        ..Plan::default()
    };
    let recording = Recording::of(&plan);
    let journal = Journal::load(recording.path()).unwrap();
    assert_eq!(journal.head.policy, Policy::sampled(3));
    let mut sampled = BTreeSet::new();
    for exchange in journal
        .exchanges()
        .filter(|exchange| exchange.index % 3 == 0)
    {
        if let Some(value) = &exchange.value {
            value.for_each_leaf(&mut |tensor| {
                sampled.insert(tensor.digest);
            });
        }
    }
    let kept: BTreeSet<Digest> = journal.tensors.keys().copied().collect();
    assert!(!kept.is_empty() && kept.len() < 6, "{} tensors", kept.len());
    assert_eq!(kept, sampled);
    assert_eq!(check(recording.path()).unwrap().problem, None);
    // The exchanges are those of any other policy.
    assert!(recording.verify(&plan).is_identical());
    assert!(recording.verify(&Plan::default()).is_identical());
    let again = std::fs::read(Recording::of(&plan).path()).unwrap();
    assert!(std::fs::read(recording.path()).unwrap() == again);
}

#[test]
fn a_sampled_tensor_that_changed_is_shown_element_by_element() {
    let recorded = Plan {
        policy: Policy::sampled(3),
        ..Plan::default()
    };
    let live = Plan {
        scale: 3.0,
        ..Plan::default()
    };
    // The swap is exchange 3.
    let divergence = divergence(&recorded, &live);
    assert_eq!(divergence.index, 3);
    assert!(divergence.tensor.is_some());
}
