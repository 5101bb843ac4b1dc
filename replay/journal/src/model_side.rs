//! Where the model of a run is, as its visits say: each exchange must be made there.
//!
//! A run whose model was watched has a visit for each site at which something was served or
//! collected, with all points that were passed on the way, so that the site of an exchange can be
//! told from the visits alone. A run whose model was not watched has none.

use super::record::SiteRef;

/// What the visits and exchanges of a run so far say of its model.
#[derive(Debug, Default)]
pub(super) struct ModelSide {
    place: Place,
    passes: PassCounts,
    /// Whether a module was skipped: a pass of it counts for the sites inside, which no visit
    /// says.
    has_skipped: bool,
}

/// Where the model is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// It has passed nothing yet.
    #[default]
    Ahead,
    /// It is somewhere, and was not watched: exchanges alone say where.
    Unwatched,
    /// It is at a site at which something is served or collected.
    At(SiteRef),
    /// The same, after a skip: in this iteration or a later one, as the first exchange there says.
    AtOrLater(SiteRef),
    /// It passes sites at which nothing is, and has perhaps come to its end.
    Passing,
    /// It has come to its end.
    Over,
}

impl ModelSide {
    /// Forgets all of it, for the next run.
    pub(super) fn restart(&mut self) {
        self.place = Place::Ahead;
        self.passes.clear();
        self.has_skipped = false;
    }

    /// Takes a visit: paths of the journal, and whether the model brought a value to the last of
    /// them.
    ///
    /// # Errors
    /// Says what should come, and what came, if the model cannot pass anything any more.
    pub(super) fn visit(&mut self, paths: &[u32], has_value: bool) -> Result<(), (String, String)> {
        if let Place::Unwatched | Place::Over = self.place {
            return Err((self.expected(), "a visit".to_owned()));
        }
        // The order of the journal has seen to that each is a path of it.
        let last = self.passes.pass_all(paths, usize::MAX);
        self.place = match last.filter(|_| has_value) {
            Some(site) if self.has_skipped => Place::AtOrLater(site),
            Some(site) => Place::At(site),
            None => Place::Passing,
        };
        Ok(())
    }

    /// Takes the site at which an exchange is made, and whether it skips a module.
    ///
    /// # Errors
    /// Says where it should be made, and where it is.
    #[inline]
    pub(super) fn exchange(
        &mut self,
        at: Option<SiteRef>,
        skips: bool,
    ) -> Result<(), (String, String)> {
        self.has_skipped |= skips;
        let next = match (self.place, at) {
            (Place::At(here), Some(at)) if here == at => return Ok(()),
            (Place::AtOrLater(here), Some(at))
                if here.path == at.path && here.iteration <= at.iteration =>
            {
                self.passes.go_on(at);
                Place::At(at)
            }
            (Place::Ahead | Place::Over, None) | (Place::Unwatched, _) => return Ok(()),
            (Place::Ahead, Some(_)) => Place::Unwatched,
            (Place::At(_) | Place::AtOrLater(_) | Place::Passing, None) => Place::Over,
            (Place::At(_) | Place::AtOrLater(_) | Place::Passing | Place::Over, Some(at)) => {
                return Err((self.expected(), format!("one {}", at_site(at))));
            }
        };
        self.place = next;
        Ok(())
    }

    /// Says what can come next.
    fn expected(&self) -> String {
        match self.place {
            Place::Ahead => "a visit or an exchange".to_owned(),
            Place::Unwatched => "no visit in a run with exchanges at sites before".to_owned(),
            Place::At(site) => format!("an exchange {}, where the model is", at_site(site)),
            Place::AtOrLater(site) => format!(
                "an exchange {} or in a later iteration, where the model is",
                at_site(site)
            ),
            Place::Passing => "an exchange at no site, for the model is at none".to_owned(),
            Place::Over => "an exchange at no site, for the model has come to its end".to_owned(),
        }
    }
}

fn at_site(site: SiteRef) -> String {
    format!("at path {}.i{}", site.path, site.iteration)
}

/// How often each path was passed in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct PassCounts(Vec<u32>);

impl PassCounts {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes over that a path is passed in this iteration.
    fn go_on(&mut self, site: SiteRef) {
        if let Some(count) = self.0.get_mut(site.path as usize) {
            *count = site.iteration.saturating_add(1);
        }
    }

    /// Passes paths one after the other, and returns the last of them with its iteration; none if
    /// one is not below `known`.
    pub(crate) fn pass_all(&mut self, paths: &[u32], known: usize) -> Option<SiteRef> {
        if paths.iter().any(|path| *path as usize >= known) {
            return None;
        }
        let mut last = None;
        for &path in paths {
            let place = path as usize;
            if place >= self.0.len() {
                self.0.resize(place + 1, 0);
            }
            let iteration = self.0[place];
            self.0[place] = iteration.saturating_add(1);
            last = Some(SiteRef { path, iteration });
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes next in a run: a visit of paths, with a value or without, or an exchange at a
    /// site.
    #[derive(Clone, Copy, Debug)]
    enum Next {
        Served(&'static [u32]),
        Passed(&'static [u32]),
        At(u32, u32),
        Skip(u32, u32),
        Nowhere,
    }

    use Next::{At, Nowhere, Passed, Served, Skip};

    /// How many of these can come one after the other, and what is said of the next.
    fn followed(run: &[Next]) -> (usize, Option<String>) {
        let mut side = ModelSide::default();
        for (count, next) in run.iter().enumerate() {
            let taken = match *next {
                Served(paths) => side.visit(paths, true),
                Passed(paths) => side.visit(paths, false),
                At(path, iteration) => side.exchange(Some(SiteRef { path, iteration }), false),
                Skip(path, iteration) => side.exchange(Some(SiteRef { path, iteration }), true),
                Nowhere => side.exchange(None, false),
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
                Nowhere,
                Served(&[0, 1]),
                At(1, 0),
                At(1, 0),
                Served(&[0, 0]),
                At(0, 2),
            ],
            &[
                Served(&[0]),
                Served(&[0]),
                At(0, 1),
                Passed(&[1, 2]),
                Nowhere,
                Nowhere,
            ],
            // What is passed can be said in pieces.
            &[
                Passed(&[0, 1]),
                Passed(&[0, 1]),
                Served(&[1]),
                At(1, 2),
                Nowhere,
            ],
            // A pass of a skipped module counts for the sites inside it.
            &[
                Served(&[0]),
                Skip(0, 0),
                Served(&[1]),
                At(1, 1),
                At(1, 1),
                Served(&[1]),
                At(1, 2),
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
            &[Served(&[0, 1]), At(0, 0)],
            &[Served(&[1, 1]), At(1, 0)],
            &[Passed(&[1]), At(1, 0)],
            &[Served(&[1]), Nowhere, At(1, 0)],
            &[Served(&[1]), Nowhere, Served(&[1])],
            &[Passed(&[1]), Nowhere, Passed(&[1])],
            &[At(1, 0), Served(&[1])],
            &[Served(&[0]), Skip(0, 0), Served(&[1, 1]), At(1, 0)],
            &[Served(&[0]), Skip(0, 0), Served(&[1]), At(1, 1), At(1, 2)],
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
        expected an exchange at no site, for the model is at none, found one at path 1.i0
        expected an exchange at no site, for the model has come to its end, found one at path 1.i0
        expected an exchange at no site, for the model has come to its end, found a visit
        expected an exchange at no site, for the model has come to its end, found a visit
        expected no visit in a run with exchanges at sites before, found a visit
        expected an exchange at path 1.i1 or in a later iteration, where the model is, found one at path 1.i0
        expected an exchange at path 1.i1, where the model is, found one at path 1.i2
        ");
    }
}
