"""Silver, case by case. Prices are in cents; `same` is a note that the update did not touch."""

from __future__ import annotations

from tests.spec.conftest import Spec


def test_the_newest_row_of_each_key_is_kept(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | 100   | a
                  11  | c  | 2  | 200   | b
                  12  | u  | 1  | 300   | c """,
        then="""  id | cents | note
                  1  | 300   | c
                  2  | 200   | b """,
    )


def test_a_late_update_does_not_overwrite_a_newer_one(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  12  | u  | 1  | 300   | new
                  11  | u  | 1  | 100   | old """,
        then="""  id | cents | note
                  1  | 300   | new """,
    )


def test_a_late_update_does_not_bring_a_deleted_row_back(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | 100   | a
                  12  | d  | 1  | 0     | -
                  11  | u  | 1  | 200   | b """,
        then="""  id | cents | note """,
    )


def test_insert_delete_insert_ends_with_the_last_row(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | 100   | first
                  11  | d  | 1  | 0     | -
                  12  | c  | 1  | 200   | second """,
        then="""  id | cents | note
                  1  | 200   | second """,
    )


def test_a_truncate_takes_what_is_older_wherever_it_arrives(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | 100   | a
                  20  | c  | 2  | 200   | b
                  15  | t  | -  | 0     | -
                  12  | u  | 1  | 150   | late """,
        then="""  id | cents | note
                  2  | 200   | b """,
    )


def test_a_key_change_is_a_delete_and_a_create_at_one_position(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note | was
                  10  | c  | 1  | 100   | a    | -
                  11  | d  | 1  | 0     | -    | -
                  11  | c  | 9  | 100   | a    | 1 """,
        then="""  id | cents | note
                  9  | 100   | a """,
    )


def test_a_value_that_was_not_touched_is_taken_from_the_row_before(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | 100   | long
                  11  | u  | 1  | 200   | same
                  12  | u  | 1  | 300   | same """,
        then="""  id | cents | note
                  1  | 300   | long """,
        needs_order=True,
    )


def test_a_value_that_was_not_touched_survives_a_change_of_key(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note | was
                  10  | c  | 1  | 100   | long | -
                  11  | d  | 1  | 0     | -    | -
                  11  | c  | 9  | 100   | same | 1
                  12  | u  | 9  | 200   | same | - """,
        then="""  id | cents | note
                  9  | 200   | long """,
        needs_order=True,
    )


def test_a_value_that_nobody_knows_is_never_data(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  11  | u  | 1  | 200   | same """,
        then="""  id | cents | note """,
        quarantined="""
                  id | issues
                  1  | unavailable:note """,
    )


def test_a_row_that_breaks_an_error_rule_waits_until_it_is_mended(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | -100  | a
                  11  | c  | 2  | -200  | b
                  12  | u  | 1  | 100   | a """,
        then="""  id | cents | note
                  1  | 100   | a """,
        quarantined="""
                  id | issues
                  2  | price_range """,
    )


def test_a_kept_row_that_turns_bad_leaves_silver(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note
                  10  | c  | 1  | 100   | a
                  11  | u  | 1  | -100  | a """,
        then="""  id | cents | note """,
        quarantined="""
                  id | issues
                  1  | price_range """,
    )


def test_what_a_type_cannot_hold_is_set_aside_with_its_reason(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents        | note
                  10  | c  | 1  | 123456789012 | too many digits
                  11  | c  | 2  | ???          | no number """,
        then="""  id | cents | note """,
        quarantined="""
                  id | issues
                  1  | undecodable:price
                  2  | undecodable:price """,
    )


def test_a_row_moved_onto_a_key_from_before_a_truncate_keeps_its_own_note(silver_spec: Spec):
    silver_spec(
        given=""" lsn | op | id | cents | note | was
                  10  | c  | 2  | 100   | old  | -
                  11  | t  | 0  | 0     | -    | -
                  12  | c  | 1  | 200   | new  | -
                  13  | d  | 1  | 0     | -    | -
                  13  | c  | 2  | 200   | same | 1 """,
        then="""  id | cents | note
                  2  | 200   | new """,
        needs_order=True,
    )
