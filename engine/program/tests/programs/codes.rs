//! That every refusal of a program has a code of its own, and every code a title.

use interloom_program::{Place, ProgramError, ProgramFault, codes};

/// The code of one of each; the enum is open to other crates, so that the count is checked against
/// the catalogue.
fn every_code() -> Vec<&'static str> {
    let at = || Place {
        file: None,
        line: None,
        step: 1,
        mediator: None,
    };
    let (name, nearest) = (String::new(), Vec::<String>::new());
    let programs = [
        ProgramError::TooDeep { at: at() },
        ProgramError::TooLarge { at: at() },
        ProgramError::UnknownModule {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::UnknownSite {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::UnsetVariable {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::UnknownBarrier {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::UnknownGiven {
            at: at(),
            name: name.clone(),
            nearest,
        },
        ProgramError::Impossible {
            at: at(),
            fault: Box::new(ProgramFault::Unset(name.clone())),
        },
        ProgramError::Shape {
            at: at(),
            site: name.clone(),
            expected: name.clone(),
            found: name.clone(),
        },
        ProgramError::Order {
            at: at(),
            asked: name.clone(),
            reached: name,
            since: Box::new(at()),
        },
    ];
    let mut codes: Vec<_> = programs.iter().map(ProgramError::code).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn every_variant_has_a_code_of_its_own_in_the_catalogue() {
    let listed: Vec<&str> = codes().map(|code| code.code).collect();
    assert!(listed.is_sorted_by(|one, next| one < next), "{listed:?}");
    // The catalogue has one entry for each variant and no other.
    assert_eq!(every_code(), listed);
}

#[test]
fn every_entry_of_the_catalogue_says_something() {
    for code in codes() {
        assert!(
            code.code.starts_with('E') && code.code.len() == 4,
            "{code:?}"
        );
        assert!(
            !code.title.is_empty() && !code.title.ends_with('.'),
            "{code:?}"
        );
    }
}
