//! A table of numbers as a picture, in a terminal or as SVG.

use std::fmt;

use anstyle::{Ansi256Color, AnsiColor, Color, Style};
use unicode_width::UnicodeWidthStr;

/// The narrowest column: room for `-0.00`.
const COLUMN_MIN: usize = 5;
/// The widest column; longer headings are cut.
const COLUMN_MAX: usize = 12;
/// The palest and the strongest of the blues of the 256-colour palette's cube, by rising share.
const SHADES: [u8; 6] = [231, 189, 153, 111, 69, 27];

/// Numbers, shaded by where they lie in a range, with a heading for each column.
///
/// `Display` writes colours as escape sequences; print it through a stream that removes them where
/// there is no terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// The headings of the columns.
    pub columns: Vec<String>,
    /// Which columns are marked with a star.
    pub marked: Vec<bool>,
    /// The heading and the numbers of each row.
    pub rows: Vec<(String, Vec<f64>)>,
    /// The numbers that are palest and strongest.
    pub range: (f64, f64),
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
                let style = shade(self.share(*share));
                write!(f, " {style}{:>width$}{style:#}", number(*share))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The size of a cell of the SVG, and the room for headings, in pixels.
const CELL: (usize, usize) = (64, 16);
const MARGIN: (usize, usize) = (80, 44);

impl HeatMap {
    /// Returns the picture as SVG, with `title` above it.
    pub fn svg(&self, title: &str) -> String {
        let (width, height) = CELL;
        let (left, top) = MARGIN;
        let full_width = left + self.columns.len() * width + 8;
        let full_height = top + self.rows.len() * height + 8;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full_width} {full_height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut text = |x: usize, y: usize, anchor: &str, fill: &str, text: &str| {
            svg.push_str(&format!(
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{}</text>\n",
                escaped(text)
            ));
        };
        text(left, 16, "start", "black", title);
        for (column, heading) in self.headings().iter().enumerate() {
            text(
                left + column * width + width / 2,
                top - 6,
                "middle",
                "black",
                heading,
            );
        }
        for (row, (name, _)) in self.rows.iter().enumerate() {
            text(left - 6, top + row * height + 12, "end", "black", name);
        }
        for (row, (_, shares)) in self.rows.iter().enumerate() {
            for (column, share) in shares.iter().enumerate() {
                let (x, y) = (left + column * width, top + row * height);
                svg.push_str(&cell(x, y, *share, self.share(*share)));
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Returns where a number lies in the range, from 0 to 1; a range of one number is all pale.
    fn share(&self, number: f64) -> f64 {
        let (from, to) = self.range;
        if to > from {
            ((number - from) / (to - from)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    fn headings(&self) -> Vec<String> {
        let marked = self.marked.iter().chain(std::iter::repeat(&false));
        let heading = |(text, marked): (&String, &bool)| {
            let text: String = text.trim().chars().map(visible).take(COLUMN_MAX).collect();
            if *marked { format!("{text}*") } else { text }
        };
        self.columns.iter().zip(marked).map(heading).collect()
    }
}

/// Returns a cell of the SVG, from white for a share of 0 to blue for 1, with its number.
fn cell(x: usize, y: usize, value: f64, share: f64) -> String {
    let (width, height) = CELL;
    let pale = if share.is_nan() { 1.0 } else { 1.0 - share };
    let channel = |strong: f64| (strong + (255.0 - strong) * pale).round() as u8;
    let (red, green, blue) = (channel(30.0), channel(90.0), channel(200.0));
    let ink = if pale < 0.5 { "white" } else { "black" };
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"#{red:02x}{green:02x}{blue:02x}\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{}</text>\n",
        x + width / 2,
        y + 12,
        number(value)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
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
            range: (0.0, 1.0),
        };
        let plain = anstream::adapter::strip_str(&map.to_string()).to_string();
        insta::assert_snapshot!(plain, @r"
                   The capital*      
        block 0   0.00     1.00  0.00
        block 10 -0.25     0.50  1.20
        ");
    }

    #[test]
    fn the_svg_has_a_cell_for_each_share_and_no_stray_markup() {
        let map = HeatMap {
            columns: vec!["<s>".to_owned(), "b".to_owned()],
            marked: vec![],
            rows: vec![("block 0".to_owned(), vec![0.0, 1.0])],
            range: (0.0, 1.0),
        };
        let svg = map.svg("a & b");
        assert_eq!(svg.matches("<rect x").count(), 2);
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;s&gt;") && !svg.contains("<s>"));
        assert!(svg.contains("#ffffff") && svg.contains("#1e5ac8"));
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
