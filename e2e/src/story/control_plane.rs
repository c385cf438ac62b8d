//! The stories that need a real API server and controllers, but no containers.

use super::{Story, at_rest, changes, convergence, corpus, edge, faults, leadership, logs, rights, secrets, surface};

/// The one that needs [`Stage::drill`](super::Stage::drill).
pub const WITH_DRILL: Story =
    Story { name: "another operator restarts nothing", tell: changes::another_operator_restarts_nothing };

/// In the order in which they are told.
pub const ALL: &[Story] = &[
    Story { name: "a fleet is born with everything it needs", tell: convergence::a_fleet_is_born },
    Story { name: "kubectl get shows the state, kubectl wait waits for it", tell: surface::columns_tell_the_state },
    Story { name: "kubectl explain explains", tell: surface::explanations_are_served },
    Story { name: "a refusal names field, value and fix", tell: surface::refusals_name_field_value_and_fix },
    Story { name: "every example is accepted", tell: surface::examples_are_accepted },
    Story { name: "API server and validate agree on every row of the corpus", tell: corpus::both_judges_agree },
    Story { name: "an apply that creates takes nothing over", tell: convergence::creation_takes_nothing_over },
    Story { name: "deleted and edited children are repaired", tell: convergence::drift_is_repaired },
    Story { name: "edits of selectors and replicas are undone", tell: convergence::edits_of_specs_are_undone },
    Story {
        name: "configuration returns from the stored revision",
        tell: convergence::configuration_returns_from_the_stored_revision,
    },
    Story { name: "foreign objects are left alone", tell: convergence::foreign_objects_are_left_alone },
    Story { name: "clients move in one patch", tell: changes::clients_move_in_one_patch },
    Story { name: "an edge comes, stays and goes", tell: edge::an_edge_comes_stays_and_goes },
    Story { name: "history is bounded", tell: changes::history_is_bounded },
    Story { name: "scale works", tell: changes::scale_works },
    Story { name: "a suspended fleet is left alone", tell: changes::a_suspended_fleet_is_left_alone },
    Story { name: "a wiped status loses nothing", tell: changes::a_wiped_status_loses_nothing },
    Story {
        name: "deletion keeps the volume unless confirmed",
        tell: convergence::deletion_keeps_the_volume_unless_confirmed,
    },
    WITH_DRILL,
    Story { name: "a changed login reaches the proxies", tell: secrets::a_changed_login_reaches_the_proxies },
    Story { name: "a leaving leader hands over", tell: leadership::a_leaving_leader_hands_over },
    Story { name: "a killed leader is replaced", tell: leadership::a_killed_leader_is_replaced },
    Story { name: "a deposed leader changes nothing", tell: leadership::a_deposed_leader_changes_nothing },
    Story {
        name: "whatever goes wrong once with a call, the end is the same",
        tell: faults::whatever_goes_wrong_the_end_is_the_same,
    },
    Story { name: "nothing is written at rest, nor after a restart", tell: at_rest::nothing_is_written_at_rest },
    Story { name: "a right that was taken away is named", tell: rights::a_right_that_was_taken_is_named },
    // It takes every fleet that is left with it.
    Story { name: "a definition that was taken away is named", tell: rights::a_definition_that_was_taken_is_named },
    Story { name: "every line of the log is a JSON object", tell: logs::every_line_is_an_object },
];
