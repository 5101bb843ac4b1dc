//! Where the model of a run is, as its visits say: each exchange must be made there.
//!
//! A run whose model was watched has a visit for each site at which something was served or
//! collected, with its iteration, so that the site of an exchange
//! is told by the visits alone. A run whose model was not watched has none.

use super::record::{BackwardTurn, SiteRef};

/// Where the visits and exchanges of a run so far say that its model is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum ModelSide {
    /// It has passed nothing yet.
    #[default]
    Ahead,
    /// It is somewhere, and was not watched: exchanges alone say where.
    Unwatched,
    /// It is at a site at which something is served or collected.
    At(SiteRef),
    /// It passes sites at which nothing is, and has perhaps come to its end.
    Passing,
    /// It has ended a backward pass, whose mediators may be refused what that has not reached.
    Between,
    /// It has come to its end.
    Over,
}

impl ModelSide {
    /// Takes a visit: the site at which something is served or collected, if there is one.
    ///
    /// # Errors
    /// Says what should come, and what came, if the model cannot pass anything any more.
    pub(super) fn visit(&mut self, site: Option<SiteRef>) -> Result<(), (String, String)> {
        if let Self::Unwatched | Self::Over = self {
            return Err((self.expected(), "a visit".to_owned()));
        }
        *self = site.map_or(Self::Passing, Self::At);
        Ok(())
    }

    /// Takes the beginning or the end of a backward pass.
    ///
    /// # Errors
    /// As for a visit.
    pub(super) fn backward(&mut self, turn: BackwardTurn) -> Result<(), (String, String)> {
        self.visit(None)?;
        if turn == BackwardTurn::End {
            *self = Self::Between;
        }
        Ok(())
    }

    /// Takes the site at which an exchange is made.
    ///
    /// # Errors
    /// Says where it should be made, and where it is.
    #[inline]
    pub(super) fn exchange(&mut self, at: Option<SiteRef>) -> Result<(), (String, String)> {
        *self = match (*self, at) {
            (Self::At(here), Some(at)) if here == at => return Ok(()),
            (Self::Ahead | Self::Between | Self::Over, None) | (Self::Unwatched, _) => {
                return Ok(());
            }
            (Self::Ahead, Some(_)) => Self::Unwatched,
            (Self::At(_) | Self::Passing, None) => Self::Over,
            (Self::At(_) | Self::Passing | Self::Between | Self::Over, Some(at)) => {
                return Err((self.expected(), format!("one {}", at_site(at))));
            }
        };
        Ok(())
    }

    /// Says what can come next.
    fn expected(&self) -> String {
        match *self {
            Self::Ahead => "a visit or an exchange".to_owned(),
            Self::Unwatched => "no visit in a run with exchanges at sites before".to_owned(),
            Self::At(site) => format!("an exchange {}, where the model is", at_site(site)),
            Self::Between => "a visit, or an exchange at no site, after a backward pass".to_owned(),
            Self::Passing => "an exchange at no site, for the model is at none".to_owned(),
            Self::Over => "an exchange at no site, for the model has come to its end".to_owned(),
        }
    }
}

fn at_site(site: SiteRef) -> String {
    format!("at path {}.i{}", site.path, site.iteration)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes next in a run: a visit of a site, or of none, or an exchange at a site, or at
    /// none.
    #[derive(Clone, Copy, Debug)]
    enum Next {
        Served(u32, u32),
        Passed,
        Begun,
        Ended,
        At(u32, u32),
        Nowhere,
    }

    use Next::{At, Begun, Ended, Nowhere, Passed, Served};

    /// How many of these can come one after the other, and what is said of the next.
    fn followed(run: &[Next]) -> (usize, Option<String>) {
        let mut side = ModelSide::default();
        for (count, next) in run.iter().enumerate() {
            let taken = match *next {
                Served(path, iteration) => side.visit(Some(SiteRef { path, iteration })),
                Passed => side.visit(None),
                Begun => side.backward(BackwardTurn::Begin),
                Ended => side.backward(BackwardTurn::End),
                At(path, iteration) => side.exchange(Some(SiteRef { path, iteration })),
                Nowhere => side.exchange(None),
            };
            if let Err((expected, found)) = taken {
                return (count, Some(format!("expected {expected}, found {found}")));
            }
        }
        (run.len(), None)
    }

    #[test]
    fn exchanges_are_made_where_the_model_is() {
        let runs: &[&[Next]] = &[
            &[
                Nowhere,
                Served(1, 0),
                At(1, 0),
                At(1, 0),
                Served(0, 2),
                At(0, 2),
            ],
            &[
                Served(0, 0),
                Served(0, 1),
                At(0, 1),
                Passed,
                Nowhere,
                Nowhere,
            ],
            // What is passed can be said in pieces.
            &[Passed, Passed, Served(1, 2), At(1, 2), Nowhere],
            // A backward pass within a forward pass.
            &[
                Served(1, 0),
                At(1, 0),
                Begun,
                Served(2, 0),
                At(2, 0),
                Ended,
                Nowhere,
                Served(3, 0),
            ],
            // A run that was not watched.
            &[Nowhere, At(3, 9), At(0, 0), Nowhere, At(1, 1)],
        ];
        for run in runs {
            assert_eq!(followed(run), (run.len(), None));
        }
    }

    #[test]
    fn exchanges_elsewhere_and_visits_after_the_end_are_refused() {
        let runs: &[&[Next]] = &[
            &[Served(1, 0), At(0, 0)],
            &[Served(1, 1), At(1, 0)],
            &[Served(1, 1), At(1, 1), At(1, 2)],
            &[Passed, At(1, 0)],
            &[Served(1, 0), Nowhere, At(1, 0)],
            &[Served(1, 0), Nowhere, Served(1, 1)],
            &[Passed, Nowhere, Passed],
            &[At(1, 0), Served(1, 1)],
            &[Begun, Ended, At(1, 0)],
        ];
        let refused = runs.iter().map(|run| {
            let (count, reason) = followed(run);
            assert_eq!(count, run.len() - 1);
            reason.unwrap()
        });
        let refused: Vec<_> = refused.collect();
        insta::assert_snapshot!(refused.join("\n"), @"
        expected an exchange at path 1.i0, where the model is, found one at path 0.i0
        expected an exchange at path 1.i1, where the model is, found one at path 1.i0
        expected an exchange at path 1.i1, where the model is, found one at path 1.i2
        expected an exchange at no site, for the model is at none, found one at path 1.i0
        expected an exchange at no site, for the model has come to its end, found one at path 1.i0
        expected an exchange at no site, for the model has come to its end, found a visit
        expected an exchange at no site, for the model has come to its end, found a visit
        expected no visit in a run with exchanges at sites before, found a visit
        expected a visit, or an exchange at no site, after a backward pass, found one at path 1.i0
        ");
    }
}
