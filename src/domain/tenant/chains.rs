//! Owns chains of moves: several moves of one lead or deal at the same instant.
//!
//! Many sources have a resolution of whole seconds, and deliver the moves of one second in any order. If all of them form
//! one chain from the stage held, they take effect in the order of that chain, where the first of them stands in event
//! order. Otherwise each takes effect where it stands.

use crate::domain::event::{Payload, StageChanged};
use crate::domain::id::{EntityId, StageId};
use crate::domain::mem::seeded::SeededMap;

/// The moves of the current instant, of each entity that has several. They are empty once their chain was applied.
#[derive(Debug, Default)]
pub(super) struct Chains {
    moves: SeededMap<EntityId, Vec<StageChanged>>,
}

/// What to apply in place of a move.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    /// The move.
    Alone,
    /// A chain that contains it.
    Chain(Vec<StageChanged>),
    /// Nothing: it was applied with its chain.
    Over,
}

impl Chains {
    /// Replaces the moves by those of the events of an instant, in event order.
    pub(super) fn collect<'a>(&mut self, payloads: impl Iterator<Item = &'a Payload> + Clone) {
        self.moves.clear();
        let moves = payloads.filter_map(Payload::stage_changed);
        if moves.clone().nth(1).is_some() {
            for change in moves {
                self.moves.entry(change.entity.clone()).or_default().push(change.clone());
            }
            self.moves.retain(|_, moves| moves.len() > 1);
        }
    }

    /// What to apply in place of the next move of an entity that holds this stage.
    pub(super) fn turn(&mut self, entity: &EntityId, held: Option<&StageId>) -> Turn {
        let Some(moves) = self.moves.get_mut(entity) else { return Turn::Alone };
        if moves.is_empty() {
            return Turn::Over;
        }
        match held.and_then(|held| chain(held, moves)) {
            Some(chain) => {
                let chain = chain.into_iter().map(|index| moves[index].clone()).collect();
                moves.clear();
                Turn::Chain(chain)
            }
            None => {
                self.moves.remove(entity);
                Turn::Alone
            }
        }
    }

    /// Ends the instant.
    pub(super) fn clear(&mut self) {
        self.moves.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }
}

/// The order in which all moves form one chain from the stage `held`, at each branch the earliest possible move first;
/// `None` if they form none. This is Hierholzer's algorithm for a trail through all edges of a graph.
fn chain(held: &StageId, moves: &[StageChanged]) -> Option<Vec<usize>> {
    // The earliest is the last of its list.
    let mut unused: SeededMap<&StageId, Vec<usize>> = SeededMap::default();
    for (index, change) in moves.iter().enumerate().rev() {
        unused.entry(change.from.as_ref()?).or_default().push(index);
    }
    let (mut trail, mut chain): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::with_capacity(moves.len()));
    loop {
        let stage = trail.last().map_or(held, |last| &moves[*last].to);
        match unused.get_mut(stage).and_then(Vec::pop) {
            Some(next) => trail.push(next),
            None => match trail.pop() {
                Some(last) => chain.push(last),
                None => break,
            },
        }
    }
    chain.reverse();
    let stages = std::iter::once(held).chain(chain.iter().map(|index| &moves[*index].to));
    let fits = chain.iter().zip(stages).all(|(index, stage)| moves[*index].from.as_ref() == Some(stage));
    (fits && chain.len() == moves.len()).then_some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::CrmPayload;
    use proptest::prelude::*;

    fn change(from: Option<u8>, to: u8) -> StageChanged {
        let stage = |stage: u8| StageId::from(stage.to_string());
        let (entity, from, to) = (EntityId::deal("1"), from.map(stage), stage(to));
        StageChanged { entity, pipeline: None, from, to, filled_fields: Vec::new() }
    }

    /// The first in lexicographic order of all permutations that are a chain.
    fn by_trial(held: u8, moves: &[(u8, u8)], used: &mut Vec<usize>) -> bool {
        let stage = used.last().map_or(held, |last| moves[*last].1);
        used.len() == moves.len()
            || (0..moves.len()).any(|next| {
                if used.contains(&next) || moves[next].0 != stage {
                    return false;
                }
                used.push(next);
                let found = by_trial(held, moves, used);
                if !found {
                    used.pop();
                }
                found
            })
    }

    proptest! {
        #[test]
        fn the_chain_is_the_first_of_all_that_are_possible(
            held in 0..3u8,
            moves in prop::collection::vec((0..3u8, 0..3u8), 0..7),
        ) {
            let mut expected = Vec::new();
            let expected = by_trial(held, &moves, &mut expected).then_some(expected);
            let moves: Vec<_> = moves.iter().map(|(from, to)| change(Some(*from), *to)).collect();
            prop_assert_eq!(chain(&held.to_string().as_str().into(), &moves), expected);
        }
    }

    #[test]
    fn a_chain_is_applied_once_and_other_moves_where_they_stand() {
        let turns = |held: Option<&str>, moves: &[StageChanged]| {
            let payloads: Vec<_> = moves.iter().cloned().map(CrmPayload::StageChanged).map(Box::new).collect();
            let payloads: Vec<_> = payloads.into_iter().map(Payload::Crm).collect();
            let mut chains = Chains::default();
            chains.collect(payloads.iter());
            let held = held.map(StageId::from);
            moves.iter().map(|change| chains.turn(&change.entity, held.as_ref())).collect::<Vec<_>>()
        };
        let (first, second) = (change(Some(1), 2), change(Some(2), 3));
        let alone = || vec![Turn::Alone, Turn::Alone];
        let reversed = [second.clone(), first.clone()];
        assert_eq!(turns(Some("1"), &reversed), [Turn::Chain(vec![first.clone(), second.clone()]), Turn::Over]);
        assert_eq!(turns(None, &reversed), alone(), "no stage is held");
        assert_eq!(turns(Some("2"), &reversed), alone(), "the chain begins elsewhere");
        assert_eq!(turns(Some("1"), &[first.clone(), change(None, 3)]), alone(), "one move does not name its stage");
        let other = StageChanged { entity: EntityId::deal("2"), ..first.clone() };
        assert_eq!(turns(Some("1"), &[second, other]), alone(), "one move of each");
        assert_eq!(turns(Some("1"), &[first]), [Turn::Alone]);
    }
}
