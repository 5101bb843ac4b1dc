//! The seeds of a training run: each is a function of the run's seed, the step, and what it is for.

/// Returns the seed of the random numbers of a step for one purpose.
///
/// It is the first eight bytes of BLAKE3("interloom seed", run seed, step, purpose), so that no
/// seed depends on what was drawn before, and no two purposes share one.
pub fn seed_for(run: u64, step: u64, purpose: &str) -> u64 {
    let mut bytes = Vec::with_capacity(16 + purpose.len());
    bytes.extend(run.to_le_bytes());
    bytes.extend(step.to_le_bytes());
    bytes.extend(purpose.as_bytes());
    let digest = crate::journal::Digest::of_bytes("seed", &bytes);
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest.0[..8]);
    u64::from_le_bytes(seed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_seeds_are_equal_and_none_moves() {
        let steps = (0..100).flat_map(|step| ["device", "data"].map(|purpose| (step, purpose)));
        let seeds: BTreeSet<u64> = steps
            .flat_map(|(step, purpose)| [7, 8].map(|run| seed_for(run, step, purpose)))
            .collect();
        assert_eq!(seeds.len(), 400);
        assert_eq!(seed_for(7, 1_200, "device"), seed_for(7, 1_200, "device"));
        assert_ne!(seed_for(0, 1, ""), seed_for(1, 0, ""));
    }
}
