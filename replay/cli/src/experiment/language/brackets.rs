//! What stands in square brackets: spans, places and items.

use interloom_program::{Expr, Item, Span};

use super::SyntaxError;
use super::lexer::Token;
use super::steps::Parser;

/// What stands in square brackets.
pub(super) enum Brackets {
    Item(Item),
    Spans(Vec<Span>),
}

impl Brackets {
    pub(super) fn of(&self, of: Expr) -> Expr {
        let of = Box::new(of);
        match self {
            Self::Item(item) => Expr::Index {
                of,
                item: item.clone(),
            },
            Self::Spans(spans) => Expr::Slice {
                of,
                spans: spans.clone(),
            },
        }
    }

    pub(super) fn patch(&self, of: Expr, with: Expr) -> Expr {
        let (of, with) = (Box::new(of), Box::new(with));
        match self {
            Self::Item(item) => Expr::Replace {
                of,
                item: item.clone(),
                with,
            },
            Self::Spans(spans) => Expr::Patch {
                of,
                spans: spans.clone(),
                with,
            },
        }
    }
}

/// Where a place stands, and which it is.
type Lone = (usize, i64);

impl Parser<'_> {
    /// Reads what stands in square brackets.
    pub(super) fn brackets(&mut self) -> Result<Brackets, SyntaxError> {
        self.expect("[")?;
        self.skip_lines();
        if let Token::Text(name) = self.peek().clone() {
            self.check_name(&name)?;
            self.advance();
            self.skip_lines();
            self.expect("]")?;
            return Ok(Brackets::Item(Item::Name(name)));
        }
        let (spans, lone) = self.spans_to_end()?;
        let Some((at, place)) = lone else {
            return Ok(Brackets::Spans(spans));
        };
        match u32::try_from(place) {
            Ok(place) => Ok(Brackets::Item(Item::Place(place))),
            Err(_) => {
                let expected =
                    "the place of an item, from 0; the last place of a dimension is `[-1..]`";
                Err(SyntaxError::new(at, expected, place.to_string()))
            }
        }
    }

    /// Reads spans in square brackets, where a lone place is one too.
    pub(super) fn spans(&mut self) -> Result<Vec<Span>, SyntaxError> {
        self.expect("[")?;
        self.skip_lines();
        self.spans_to_end().map(|(spans, _)| spans)
    }

    /// Reads spans up to the bracket that closes them; the second is the only one, if that is a
    /// place, and where it stands.
    fn spans_to_end(&mut self) -> Result<(Vec<Span>, Option<Lone>), SyntaxError> {
        let (mut spans, mut lone) = (Vec::new(), None);
        while !self.take("]") {
            let at = self.at();
            let (span, place) = self.span()?;
            spans.push(span);
            self.skip_lines();
            let is_last = self.take("]");
            if is_last && spans.len() == 1 {
                lone = place.map(|place| (at, place));
            }
            if is_last {
                break;
            }
            self.separator("]")?;
        }
        Ok((spans, lone))
    }

    /// Reads a span, or the number of a place, which is also that number.
    fn span(&mut self) -> Result<(Span, Option<i64>), SyntaxError> {
        let at = self.at();
        if self.take("..") {
            let end = self.optional_place()?;
            return Ok((Span { start: None, end }, None));
        }
        let Some(start) = self.optional_place()? else {
            let expected = "a place such as 4 or -1, or a span such as `..`, `2..` or `0..8`";
            return Err(SyntaxError::new(at, expected, self.peek().to_string()));
        };
        if self.take("..") {
            let end = self.optional_place()?;
            let start = Some(start);
            return Ok((Span { start, end }, None));
        }
        let span = Span {
            start: Some(start),
            // What ends at the last place has no end to write down.
            end: start.checked_add(1).filter(|&end| end != 0),
        };
        Ok((span, Some(start)))
    }

    /// Reads the number of a dimension; a negative one counts from the end.
    pub(super) fn dimension(&mut self) -> Result<i32, SyntaxError> {
        let at = self.at();
        let place = self.optional_place()?;
        let dimension = place.and_then(|place| i32::try_from(place).ok());
        dimension.ok_or_else(|| {
            let found = place.map_or_else(|| self.peek().to_string(), |place| place.to_string());
            SyntaxError::new(at, "a dimension such as 0 or -1", found)
        })
    }

    fn optional_place(&mut self) -> Result<Option<i64>, SyntaxError> {
        let at = self.at();
        let is_negative = self.take("-");
        let Token::Number(number, whole) = *self.peek() else {
            return match is_negative {
                true => Err(self.unexpected("a number")),
                false => Ok(None),
            };
        };
        self.advance();
        let place = whole.and_then(|whole| i64::try_from(whole).ok());
        match place {
            Some(place) => Ok(Some(if is_negative { -place } else { place })),
            None => {
                let expected = "a whole number below 2^63";
                Err(SyntaxError::new(at, expected, number.to_string()))
            }
        }
    }
}
