//! The machine's own randomness. Never goes on without it.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::base::ids::Entropy;

/// Randomness of the operating system, through the crypto provider.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if SystemRandom::new().fill(buffer).is_err() {
            // A process without randomness would mint keys that can be guessed; there is nobody to report to who could go on.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fills_differ() {
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        SystemEntropy.fill(&mut a);
        SystemEntropy.fill(&mut b);
        assert_ne!(a, b);
        assert_ne!(a, [0u8; 32]);
    }
}
