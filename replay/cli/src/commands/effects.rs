//! Effects of the parts of a model, as table and as picture.

use super::trace::What;
use crate::HeatMap;

/// How far each part moves the logit difference from that of the corrupt to that of the clean
/// prompt.
pub(super) struct Effects {
    /// The logit difference, answer minus foil, after the clean prompt.
    pub(super) clean: f64,
    /// The same after the corrupt prompt.
    pub(super) corrupt: f64,
    /// The clean prompt's tokens as text.
    pub(super) tokens: Vec<String>,
    /// Which tokens of the corrupt prompt are others.
    pub(super) differing: Vec<bool>,
    /// What the parts of a block are.
    pub(super) what: What,
    /// For each block the effect of each of its parts, in logits.
    pub(super) blocks: Vec<Vec<f64>>,
}

impl Effects {
    /// Returns how much larger the logit difference is after the clean prompt.
    pub(super) fn difference(&self) -> f64 {
        self.clean - self.corrupt
    }

    /// Returns the share of the difference: 0 is as corrupt, 1 as clean.
    pub(super) fn share(&self, effect: f64) -> f64 {
        effect / self.difference()
    }

    /// Returns something for each block, part and effect.
    pub(super) fn each<T>(&self, of: impl Fn(usize, usize, f64) -> T) -> impl Iterator<Item = T> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(move |(block, effects)| {
            let effects = effects.iter().enumerate();
            let all: Vec<T> = effects
                .map(|(part, effect)| of(block, part, *effect))
                .collect();
            all
        })
    }

    /// Returns what `number` makes of the effects as comma-separated values, in a column of this
    /// name.
    pub(super) fn csv(&self, name: &str, number: impl Fn(f64) -> f64) -> String {
        let column = self.what.column();
        let lines = self.each(|block, part, effect| {
            let number = number(effect);
            match self.what {
                What::Head => format!("{block},{part},{number:.6}\n"),
                What::Resid | What::Mlp => {
                    let token = self.tokens[part].replace('"', "\"\"");
                    format!("{block},{part},\"{token}\",{number:.6}\n")
                }
            }
        });
        let token = match self.what {
            What::Head => "",
            What::Resid | What::Mlp => "token,",
        };
        format!(
            "block,{column},{token}{name}\n{}",
            lines.collect::<String>()
        )
    }

    /// Returns the shares as a picture: blocks downwards, positions or heads across.
    ///
    /// The strongest colour is that of the whole difference, or of the largest share where each is
    /// a part of a sum.
    pub(super) fn heat_map(&self) -> HeatMap {
        let blocks = self.blocks.iter().enumerate();
        let rows: Vec<(String, Vec<f64>)> = blocks
            .map(|(block, effects)| {
                let shares = effects.iter().map(|effect| self.share(*effect));
                (format!("block {block}"), shares.collect())
            })
            .collect();
        let shares = rows.iter().flat_map(|(_, shares)| shares);
        let most = shares.copied().fold(0.0, f64::max);
        let (columns, marked, most) = match self.what {
            What::Resid => (self.tokens.clone(), self.differing.clone(), 1.0),
            What::Mlp => (self.tokens.clone(), self.differing.clone(), most),
            What::Head => {
                let heads = self.blocks.first().map_or(0, Vec::len);
                let names = (0..heads).map(|head| format!("head {head}"));
                (names.collect(), Vec::new(), most)
            }
        };
        HeatMap {
            columns,
            marked,
            rows,
            range: (0.0, most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(what: What) -> Effects {
        Effects {
            clean: 3.0,
            corrupt: -1.0,
            tokens: vec!["The".to_owned(), " \"x\",".to_owned()],
            differing: vec![false, true],
            what,
            blocks: vec![vec![0.0, 1.0], vec![2.0, 3.0]],
        }
    }

    #[test]
    fn csv_quotes_tokens() {
        let effects = effects(What::Resid);
        insta::assert_snapshot!(effects.csv("restored", |effect| effects.share(effect)), @r#"
        block,position,token,restored
        0,0,"The",0.000000
        0,1," ""x"",",0.250000
        1,0,"The",0.500000
        1,1," ""x"",",0.750000
        "#);
    }

    #[test]
    fn heads_are_columns() {
        let effects = effects(What::Head);
        insta::assert_snapshot!(effects.csv("effect", |effect| effect), @r"
        block,head,effect
        0,0,0.000000
        0,1,1.000000
        1,0,2.000000
        1,1,3.000000
        ");
        let map = effects.heat_map();
        assert_eq!(
            (map.columns[1].as_str(), map.range),
            ("head 1", (0.0, 0.75))
        );
    }
}
