//! The chain of mirrors, as GOPROXY means it: which is asked next, and what the end of it means.
//!
//! The engine behind takes 404 and 410 for the truth and looks in version control, or tells the client that there is no such module. So
//! they are said only where every mirror was asked and every one said so.

/// When the next mirror is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryNextOn {
    /// After 404 and 410 only: a comma in GOPROXY.
    NotFound,
    /// After any failure: a pipe in GOPROXY.
    AnyError,
}

/// What came of asking one mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has it.
    Found,
    /// It says that there is no such thing: 404 or 410.
    NotFound,
    /// Anything else: another status, wrong bytes, none in time, or it was left alone.
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the mirror at this place of the chain.
    Ask(usize),
    /// Pass on what the last one gave.
    Found,
    /// Say that there is no such thing.
    NotFound,
    /// Say that nobody could tell: 502.
    Unavailable,
}

/// The next step, after the first mirrors of the chain were asked in order.
pub fn next(chain: &[TryNextOn], asked: &[Asked]) -> Step {
    for (answer, rule) in asked.iter().zip(chain) {
        match (answer, rule) {
            (Asked::Found, _) => return Step::Found,
            (Asked::Failed, TryNextOn::NotFound) => return Step::Unavailable,
            (Asked::NotFound, _) | (Asked::Failed, TryNextOn::AnyError) => {}
        }
    }
    if asked.len() < chain.len() {
        return Step::Ask(asked.len());
    }
    let told = !chain.is_empty() && asked.iter().all(|answer| *answer == Asked::NotFound);
    if told { Step::NotFound } else { Step::Unavailable }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMA: TryNextOn = TryNextOn::NotFound;
    const PIPE: TryNextOn = TryNextOn::AnyError;

    /// Runs the chain with these answers ready and returns whom it asked, and its end.
    fn run(chain: &[TryNextOn], answers: &[Asked]) -> (usize, Step) {
        let mut asked = Vec::new();
        loop {
            match next(chain, &asked) {
                Step::Ask(place) => {
                    assert_eq!(place, asked.len());
                    asked.push(answers[place]);
                }
                end @ (Step::Found | Step::NotFound | Step::Unavailable) => return (asked.len(), end),
            }
        }
    }

    #[test]
    fn moves_on_as_the_go_command_does() {
        use Asked::{Failed, Found, NotFound};
        for (chain, answers, count, end) in [
            (&[COMMA, COMMA][..], &[Found, Found][..], 1, Step::Found),
            (&[COMMA, COMMA], &[NotFound, Found], 2, Step::Found),
            (&[COMMA, COMMA], &[Failed, Found], 1, Step::Unavailable),
            (&[PIPE, COMMA], &[Failed, Found], 2, Step::Found),
            (&[PIPE, COMMA], &[NotFound, NotFound], 2, Step::NotFound),
            (&[PIPE, COMMA], &[Failed, NotFound], 2, Step::Unavailable),
            (&[PIPE, PIPE], &[NotFound, Failed], 2, Step::Unavailable),
            (&[COMMA], &[NotFound], 1, Step::NotFound),
            (&[], &[], 0, Step::Unavailable),
        ] {
            assert_eq!(run(chain, answers), (count, end), "{chain:?} {answers:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_denied_that_somebody_could_not_tell(links in prop::collection::vec((any::<bool>(), 0_u8..3), 0..6)) {
            let chain: Vec<_> = links.iter().map(|(pipe, _)| if *pipe { PIPE } else { COMMA }).collect();
            let answers: Vec<_> = links.iter().map(|(_, answer)| [Asked::Found, Asked::NotFound, Asked::Failed][usize::from(*answer)]).collect();
            let (count, end) = run(&chain, &answers);
            prop_assert_eq!(end == Step::NotFound, !chain.is_empty() && answers.iter().all(|answer| *answer == Asked::NotFound));
            prop_assert_eq!(end == Step::Found, count > 0 && answers[count - 1] == Asked::Found);
        }
    }
}
