//! The table of a model's sites, with which its mediators are served without it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::TENSOR_RANK_MAX;

/// The sites of a model, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct SiteTable {
    /// Each path and its ports, in the model's order.
    pub paths: Vec<(String, Vec<String>)>,
    /// Second names, and the points that they are of.
    pub aliases: Vec<(String, String)>,
    /// Which dimensions are positions of a sequence, at the points where some are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<PositionLine>,
    /// Which tensors carry rows of the batch, at the points where their shapes do not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowLine>,
}

/// The dimensions of positions of each tensor of a value, those of the last for all further ones;
/// and the points of which this is true, by their places among [all points](SiteTable::points),
/// ascending.
pub type PositionLine = (Vec<Vec<u8>>, Vec<u32>);

/// Which tensors of a value carry rows of the batch, and the points of which this is true, as in a
/// [`PositionLine`].
pub type RowLine = (BatchedTensors, Vec<u32>);

/// The tensors of a value that carry rows of the batch, as the model's author has declared them.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum BatchedTensors {
    /// All of them, or none.
    Each(bool),
    /// As listed, from left to right; none of those that are not listed.
    Listed(Vec<bool>),
}

impl SiteTable {
    /// Iterates over the points in order, as path and port.
    pub fn points(&self) -> impl Iterator<Item = (&str, &str)> {
        let paths = self.paths.iter();
        paths.flat_map(|(path, ports)| ports.iter().map(move |port| (&**path, &**port)))
    }

    /// Checks that positions and rows are of points that there are, of each once, and positions in
    /// dimensions that a tensor can have.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (layout, _) in &self.positions {
            check_dimensions(layout)?;
        }
        let positions = self.positions.iter().map(|(_, points)| &points[..]);
        self.check_points("positions", positions)?;
        self.check_points("rows", self.rows.iter().map(|(_, points)| &points[..]))
    }

    /// Checks the points of lines that say the same kind of thing.
    fn check_points<'a>(
        &self,
        what: &str,
        lines: impl Iterator<Item = &'a [u32]>,
    ) -> Result<(), String> {
        let count = self.points().count();
        let mut is_seen = vec![false; count];
        for points in lines {
            if points.is_empty() || !points.is_sorted() {
                return Err(format!(
                    "expected {what} of one or more points, ascending, found {points:?}"
                ));
            }
            for &point in points {
                match is_seen.get_mut(point as usize) {
                    Some(is_seen) if !*is_seen => *is_seen = true,
                    Some(_) => return Err(format!("the {what} of point {point} stand twice")),
                    None => {
                        return Err(format!(
                            "expected {what} of a point below {count}, found point {point}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_dimensions(layout: &[Vec<u8>]) -> Result<(), String> {
    match layout.iter().flatten().max() {
        None => Err("expected positions in some dimension, found none".to_owned()),
        Some(&largest) if usize::from(largest) >= TENSOR_RANK_MAX => Err(format!(
            "expected positions in a dimension below {TENSOR_RANK_MAX}, found {largest}"
        )),
        Some(_) => Ok(()),
    }
}

/// Rows of tokens by the name of what they are: what a tokenizer, or a file beside the experiment,
/// was needed for.
pub type Tokens = BTreeMap<String, Vec<Vec<u32>>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of three points.
    fn table() -> SiteTable {
        let port = |port: &str| port.to_owned();
        SiteTable {
            paths: vec![
                ("a".to_owned(), vec![port("input"), port("output")]),
                (String::new(), vec![port("output")]),
            ],
            ..SiteTable::default()
        }
    }

    #[test]
    fn positions_are_of_points_that_there_are_and_dimensions_that_can_be() {
        let lines = |positions: &[PositionLine]| SiteTable {
            positions: positions.to_vec(),
            ..table()
        };
        let good: [&[PositionLine]; 3] = [
            &[],
            &[
                (vec![vec![1]], vec![0, 2]),
                (vec![vec![], vec![2, 3]], vec![1]),
            ],
            &[(vec![vec![254]], vec![0])],
        ];
        for positions in good {
            assert_eq!(lines(positions).check(), Ok(()));
        }
        let bad: [&[PositionLine]; 7] = [
            &[(vec![], vec![0])],
            &[(vec![vec![]], vec![0])],
            &[(vec![vec![1, 255]], vec![0])],
            &[(vec![vec![1]], vec![])],
            &[(vec![vec![1]], vec![1, 0])],
            &[(vec![vec![1]], vec![0]), (vec![vec![2]], vec![0])],
            &[(vec![vec![1]], vec![3])],
        ];
        let reasons = bad.map(|positions| lines(positions).check().unwrap_err());
        insta::assert_snapshot!(reasons.join("\n"), @"
        expected positions in some dimension, found none
        expected positions in some dimension, found none
        expected positions in a dimension below 255, found 255
        expected positions of one or more points, ascending, found []
        expected positions of one or more points, ascending, found [1, 0]
        the positions of point 0 stand twice
        expected positions of a point below 3, found point 3
        ");
    }
    #[test]
    fn rows_are_of_points_that_there_are() {
        let lines = |rows: &[RowLine]| SiteTable {
            rows: rows.to_vec(),
            ..table()
        };
        let (all, listed) = (
            BatchedTensors::Each(true),
            BatchedTensors::Listed(vec![false, true]),
        );
        let good: [&[RowLine]; 2] = [&[], &[(all.clone(), vec![1]), (listed.clone(), vec![0, 2])]];
        for rows in good {
            assert_eq!(lines(rows).check(), Ok(()));
        }
        let bad: [&[RowLine]; 3] = [
            &[(all.clone(), vec![])],
            &[(all.clone(), vec![0, 1]), (listed, vec![1])],
            &[(all, vec![3])],
        ];
        let reasons = bad.map(|rows| lines(rows).check().unwrap_err());
        insta::assert_snapshot!(reasons.join("\n"), @"
        expected rows of one or more points, ascending, found []
        the rows of point 1 stand twice
        expected rows of a point below 3, found point 3
        ");
    }
}
