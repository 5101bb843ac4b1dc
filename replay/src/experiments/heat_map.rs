//! A table of numbers as a picture in a terminal.

use std::fmt;

use anstyle::{Ansi256Color, AnsiColor, Color, Style};
use unicode_width::UnicodeWidthStr;

/// The narrowest column: room for `-0.00`.
const COLUMN_MIN: usize = 5;
/// The widest column; longer headings are cut.
const COLUMN_MAX: usize = 12;
/// The palest and the strongest of the blues of the 256-colour palette's cube, by rising share.
const SHADES: [u8; 6] = [231, 189, 153, 111, 69, 27];

/// Shares from 0 to 1, shaded, with a heading for each column.
///
/// `Display` writes colours as escape sequences; print it through a stream that removes them where there is no terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// The headings of the columns.
    pub columns: Vec<String>,
    /// Which columns are marked with a star.
    pub marked: Vec<bool>,
    /// The heading and the shares of each row.
    pub rows: Vec<(String, Vec<f64>)>,
}

impl fmt::Display for HeatMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings: Vec<String> = self.headings();
        let widths: Vec<usize> = headings
            .iter()
            .map(|heading| heading.width().max(COLUMN_MIN))
            .collect();
        let margin = self
            .rows
            .iter()
            .map(|(name, _)| name.width())
            .max()
            .unwrap_or(0);

        write!(f, "{:margin$}", "")?;
        for (heading, width) in headings.iter().zip(&widths) {
            write!(f, " {}{heading}", " ".repeat(width - heading.width()))?;
        }
        writeln!(f)?;
        for (name, shares) in &self.rows {
            write!(f, "{name:margin$}")?;
            for (share, width) in shares.iter().zip(&widths) {
                let style = shade(*share);
                write!(f, " {style}{:>width$}{style:#}", number(*share))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl HeatMap {
    fn headings(&self) -> Vec<String> {
        let marked = self.marked.iter().chain(std::iter::repeat(&false));
        let heading = |(text, marked): (&String, &bool)| {
            let text: String = text.trim().chars().map(visible).take(COLUMN_MAX).collect();
            if *marked { format!("{text}*") } else { text }
        };
        self.columns.iter().zip(marked).map(heading).collect()
    }
}

/// Rounds to two digits, without a negative zero.
fn number(share: f64) -> String {
    let text = format!("{share:.2}");
    if text == "-0.00" {
        "0.00".to_owned()
    } else {
        text
    }
}

fn shade(share: f64) -> Style {
    let level = (share.clamp(0.0, 1.0) * (SHADES.len() - 1) as f64).round() as usize;
    let dark = level >= 4;
    let text = if dark {
        AnsiColor::BrightWhite
    } else {
        AnsiColor::Black
    };
    Style::new()
        .bg_color(Some(Color::Ansi256(Ansi256Color(SHADES[level]))))
        .fg_color(Some(Color::Ansi(text)))
}

/// Control characters would break the table.
fn visible(character: char) -> char {
    if character.is_control() {
        '·'
    } else {
        character
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_it_is_a_table() {
        let map = HeatMap {
            columns: vec!["The".to_owned(), " capital".to_owned(), "\n".to_owned()],
            marked: vec![false, true, false],
            rows: vec![
                ("block 0".to_owned(), vec![0.0, 1.0, -0.001]),
                ("block 10".to_owned(), vec![-0.25, 0.5, 1.2]),
            ],
        };
        let plain = anstream::adapter::strip_str(&map.to_string()).to_string();
        insta::assert_snapshot!(plain, @r"
                   The capital*      
        block 0   0.00     1.00  0.00
        block 10 -0.25     0.50  1.20
        ");
    }

    #[test]
    fn shares_are_shaded_from_pale_to_strong() {
        let backgrounds: Vec<_> = [-1.0, 0.0, 0.5, 1.0, 9.0]
            .map(|share| shade(share).get_bg_color())
            .into();
        assert_eq!(backgrounds[0], backgrounds[1]);
        assert_ne!(backgrounds[1], backgrounds[2]);
        assert_ne!(backgrounds[2], backgrounds[3]);
        assert_eq!(backgrounds[3], backgrounds[4]);
    }
}
