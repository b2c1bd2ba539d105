//! What is chosen by the seed: what a thing is held against, and colours that it does not have.

use latent_data::compose::Colour;
use latent_data::random;

use crate::tested::CHOICES;

/// A colour is foreign to a thing where at most this share of its training pictures mainly has it.
const RARE: f64 = 0.1;
/// The purposes of random numbers here.
const OTHERS: u64 = 50;
const COLOURS: u64 = 51;
const SOME: u64 = 52;

/// Nine things, or as many as there are, that a thing is held against. `groups` says of each thing what it is filed under: five of
/// the nine are of the same, where it has so many.
pub(crate) fn others(
    own: usize,
    things: usize,
    groups: &[Option<usize>],
    (seed, key): (u64, u64),
) -> Vec<usize> {
    let wanted = CHOICES.min(things).saturating_sub(1);
    let mut all: Vec<usize> = (0..things).filter(|thing| *thing != own).collect();
    random::shuffle(&mut all, seed, &[OTHERS, key]);
    let group = |thing: usize| groups.get(thing).copied().flatten();
    let near = |thing: &usize| group(own).is_some() && group(*thing) == group(own);
    let mut chosen: Vec<usize> = all.iter().copied().filter(near).collect();
    chosen.truncate(wanted.div_ceil(2));
    let far = all.into_iter().filter(|thing| !chosen.contains(thing));
    let rest: Vec<usize> = far.take(wanted - chosen.len()).collect();
    chosen.extend(rest);
    chosen
}

/// Up to `most` things, each with a colour that is foreign to it: every thing once, then again in another colour. `shares` are
/// those of each thing's training pictures that mainly have each colour; `None` where none could be judged.
pub(crate) fn foreign(
    shares: &[Option<[f64; Colour::ALL.len()]>],
    most: usize,
    seed: u64,
) -> Vec<(usize, Colour)> {
    let colours = |thing: usize| -> Vec<Colour> {
        let Some(shares) = &shares[thing] else {
            return Vec::new();
        };
        let share = |colour: &Colour| {
            let place = Colour::ALL.iter().position(|known| known == colour);
            place.map_or(1.0, |place| shares[place])
        };
        let rare = Colour::PAINTS.into_iter().filter(|c| share(c) <= RARE);
        let mut rare: Vec<Colour> = rare.collect();
        random::shuffle(&mut rare, seed, &[COLOURS, thing as u64]);
        rare
    };
    let things = some(shares.len(), shares.len(), seed);
    let lists: Vec<(usize, Vec<Colour>)> = things.into_iter().map(|t| (t, colours(t))).collect();
    let turns = (0..Colour::PAINTS.len()).flat_map(|turn| {
        let pair =
            move |(thing, colours): &(usize, Vec<Colour>)| Some((*thing, *colours.get(turn)?));
        lists.iter().filter_map(pair)
    });
    turns.take(most).collect()
}

/// `most` of so many, or all, in an order drawn by the seed.
pub(crate) fn some(count: usize, most: usize, seed: u64) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    random::shuffle(&mut all, seed, &[SOME]);
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn half_of_the_others_are_near() {
        let groups: Vec<Option<usize>> = (0..40).map(|thing| Some(thing % 4)).collect();
        for own in 0..40 {
            let chosen = others(own, 40, &groups, (7, own as u64));
            assert_eq!(chosen, others(own, 40, &groups, (7, own as u64)));
            let set: BTreeSet<usize> = chosen.iter().copied().collect();
            assert_eq!((chosen.len(), set.len()), (9, 9));
            assert!(!set.contains(&own));
            let near = chosen.iter().filter(|thing| groups[**thing] == groups[own]);
            assert!(near.count() >= 5);
        }
        // A group of one, no groups, few things.
        let mut lone = groups.clone();
        lone[3] = Some(99);
        assert_eq!(others(3, 40, &lone, (7, 0)).len(), 9);
        assert_eq!(others(3, 40, &[], (7, 0)).len(), 9);
        assert_ne!(others(3, 40, &[], (7, 0)), others(3, 40, &[], (8, 0)));
        let few: BTreeSet<usize> = others(1, 4, &[], (7, 0)).into_iter().collect();
        assert_eq!(few, BTreeSet::from([0, 2, 3]));
        assert!(others(0, 1, &[], (7, 0)).is_empty());
    }

    #[test]
    fn foreign_colours_are_rare_ones() {
        let mut red = [0.0; Colour::ALL.len()];
        red[0] = 0.8;
        red[1] = 0.11;
        let all = [0.2; Colour::ALL.len()];
        let shares = [Some(red), None, Some(all), Some([0.0; Colour::ALL.len()])];
        let chosen = foreign(&shares, 100, 3);
        assert_eq!(chosen, foreign(&shares, 100, 3));
        assert_eq!(chosen.len(), 5 + 7, "five for the red thing, none for two");
        assert!(!chosen.contains(&(0, Colour::Red)) && !chosen.contains(&(0, Colour::Orange)));
        assert!(chosen.iter().all(|(thing, _)| [0, 3].contains(thing)));
        let distinct: BTreeSet<_> = chosen.iter().collect();
        assert_eq!(distinct.len(), chosen.len());
        let first: BTreeSet<usize> = chosen[..2].iter().map(|pair| pair.0).collect();
        assert_eq!(first.len(), 2, "each thing once before one twice");
        assert_eq!(foreign(&shares, 3, 3), chosen[..3]);
    }
}
