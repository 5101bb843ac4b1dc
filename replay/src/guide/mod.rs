//! Guides: four essays, each with a worked example that the tests of this crate run.
//!
//! All of them use one model, a perceptron with three hidden units whose weights are whole numbers,
//! so that every output can be checked by hand.
//!
//! | guide | answers |
//! |---|---|
//! | [`burn_model_to_journal`] | what a burn model needs for its runs to be recorded and verified |
//! | [`reading_a_divergence`] | what the report of a failed verification says, and what to look at first |
//! | [`does_the_order_matter`] | whether a result depends on the order of the mediators |
//! | [`mediators_in_three_ways`] | when a mediator is an async closure, a state machine or a program |
//!
//! With the feature `train` there is a fifth, `burns_learner`: how burn's own training loop becomes
//! a training run that is recorded and resumed.

#[cfg(feature = "train")]
#[doc = include_str!("burns_learner.md")]
pub mod burns_learner {}

#[doc = include_str!("burn_model_to_journal.md")]
pub mod burn_model_to_journal {}

#[doc = include_str!("does_the_order_matter.md")]
pub mod does_the_order_matter {}

#[doc = include_str!("mediators_in_three_ways.md")]
pub mod mediators_in_three_ways {}

#[doc = include_str!("reading_a_divergence.md")]
pub mod reading_a_divergence {}
