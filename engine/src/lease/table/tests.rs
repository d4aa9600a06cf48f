//! Slots, names and transaction identifiers.

use super::*;
use crate::lease::{Acquire, Profile};
use crate::wire::ethernet::Mac;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

fn machine() -> Machine {
    let profile = Arc::new(Profile::default());
    Machine::new(Acquire::new(PortId(0), Mac([2, 0, 0, 0, 0, 1]), profile), true, 1)
}

#[test]
fn an_old_name_never_means_a_new_lease() {
    let mut table = Table::new([1, 2, 3, 4]);
    let first = table.insert(PortId(0), machine()).unwrap();
    table.remove(first.slot);
    let second = table.insert(PortId(0), machine()).unwrap();
    assert_eq!(first.slot, second.slot);
    assert!(table.get(first).is_none());
    assert!(table.get(second).is_some());
    assert_eq!(table.len(), 1);
}

#[test]
fn xids_of_ten_thousand_slots_and_their_generations_are_distinct_and_lead_back() {
    let mut table = Table::new([7, 11, 13, 17]);
    let mut seen = HashSet::new();
    for _ in 0..10_000 {
        let id = table.insert(PortId(0), machine()).unwrap();
        for _ in 0..8 {
            let xid = table.fresh_xid(id.slot);
            assert!(seen.insert(xid));
            assert_eq!(table.slot_of(xid), id.slot);
            table.used(id.slot);
        }
    }
    assert_eq!(table.slots(), 10_000);
}

proptest! {
    #[test]
    fn the_permutation_has_an_inverse(value: u32, key: [u32; 4]) {
        prop_assert_eq!(unpermute(permute(value, key), key), value);
    }
}
