//! The table of a model's sites, with which its mediators are served without it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The sites of a model, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct SiteTable {
    /// Each path and its ports, in the model's order.
    pub paths: Vec<(String, Vec<String>)>,
    /// Second names, and the points that they are of.
    pub aliases: Vec<(String, String)>,
}

/// Rows of tokens by the name of what they are: what a tokenizer, or a file beside the experiment,
/// was needed for.
pub type Tokens = BTreeMap<String, Vec<Vec<u32>>>;
