//! Windows and buckets on a virtual clock.

use super::*;

fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

#[test]
fn a_fixed_window_admits_as_many_as_it_says() {
    let mut pacer = Pacer::new(Pacing { window: Window::Fixed(2), ..Pacing::default() }, ms(0));
    for _ in 0..2 {
        assert!(pacer.may_start(ms(0)));
        pacer.started();
    }
    assert!(!pacer.may_start(ms(0)));
    pacer.left();
    assert!(pacer.may_start(ms(0)));
}

#[test]
fn the_automatic_window_grows_to_its_ceiling_and_is_halved_once_for_a_burst_of_losses() {
    let mut pacer = Pacer::new(Pacing::default(), ms(0));
    assert_eq!(pacer.window(), Some(32));
    for _ in 0..1000 {
        pacer.succeeded(Duration::from_millis(1), ms(1));
    }
    assert_eq!(pacer.window(), Some(128));
    for _ in 0..50 {
        pacer.congested(ms(4000));
    }
    assert_eq!(pacer.window(), Some(64));
    for round in 0..20 {
        pacer.congested(ms(5000 + round * 1000));
    }
    assert_eq!(pacer.window(), Some(1));
}

#[test]
fn slow_answers_shrink_the_window() {
    let mut pacer = Pacer::new(Pacing::default(), ms(0));
    pacer.succeeded(Duration::from_millis(1500), ms(2000));
    assert_eq!(pacer.window(), Some(16));
}

#[test]
fn a_rate_is_kept_evenly() {
    let pacing =
        Pacing { window: Window::Unlimited, starts_per_second: Some(100), ..Pacing::default() };
    let mut pacer = Pacer::new(pacing, ms(0));
    let mut starts = Vec::new();
    for at in 0..1000 {
        while pacer.may_start(ms(at)) {
            pacer.started();
            starts.push(at);
        }
    }
    assert_eq!(starts.len(), 100);
    assert!(starts.windows(2).all(|pair| (9..=11).contains(&(pair[1] - pair[0]))));
    assert_eq!(pacer.next(|class| class == Class::Discover), Some(ms(1000)));
}

#[test]
fn releases_go_a_little_slower_than_the_server_was_seen_to_bind() {
    let mut pacer = Pacer::new(Pacing::default(), ms(0));
    (0..32).for_each(|_| pacer.started());
    for at in 0..500 {
        for _ in 0..5 {
            pacer.succeeded(Duration::from_millis(1), ms(at));
        }
        (0..5).for_each(|_| pacer.started());
        if at >= 25 {
            (0..5).for_each(|_| pacer.left());
        }
    }
    assert!((3900..=4100).contains(&releases_in_a_second(&mut pacer)));
}

#[test]
fn an_idle_server_says_nothing_about_its_speed() {
    let mut pacer = Pacer::new(Pacing::default(), ms(0));
    for at in 0..50 {
        pacer.started();
        pacer.left();
        pacer.succeeded(Duration::from_millis(1), ms(at * 10));
    }
    assert!((500..=540).contains(&releases_in_a_second(&mut pacer)));
}

fn releases_in_a_second(pacer: &mut Pacer) -> u32 {
    let mut sent = 0;
    for at in 1000..2000 {
        while pacer.may_send(Class::Release, ms(at)) {
            pacer.sent(Class::Release);
            sent += 1;
        }
    }
    sent
}
