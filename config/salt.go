package config

import (
	"maps"
	"slices"
	"strings"
)

// later are keys of Salt's that have a meaning here in a later version. Only a single master is possible so far, for
// which none of them matters.
var later = map[string]string{
	"master_alive_interval": "has no effect yet: there is one master",
	"master_failback":       "has no effect yet: there is one master",
	"random_master":         "has no effect yet: there is one master",
	"retry_dns":             "has no effect yet: the master's name is resolved at every attempt to connect",
}

// foreign are the keys of Salt's master and minion files that mean nothing to a broker. They are accepted, as one file
// is often made from another, and warned about (Salt: VALID_OPTS and the defaults in salt/config/__init__.py).
var foreign = strings.Fields(`
	acceptance_wait_time acceptance_wait_time_max add_proxymodule_to_opts allow_minion_key_revoke
	always_verify_signature api_pidfile append_domain append_minionid_config_dirs auth_events auth_mode
	auth_safemode auth_timeout auth_tries auto_accept autoload_dynamic_modules autoreject_file autosign_file
	autosign_grains autosign_grains_dir autosign_timeout azurefs_update_interval backup_mode batch_safe_limit
	batch_safe_size batch_size beacons beacons_before_connect bootstrap_delay cache cache_jobs cache_sreqs cachedir
	clean_dynamic_modules cli_summary client_acl client_acl_blacklist cluster_id cluster_masters cluster_mode
	cluster_peers cluster_pki_dir cluster_pool_port cmd_blacklist_glob cmd_safe cmd_whitelist_glob color color_theme
	con_cache conf_file cython_enable decrypt_pillar decrypt_pillar_default decrypt_pillar_delimiter
	decrypt_pillar_renderers default_top disable_modules disable_returners disabled_requisites discovery
	drop_messages_signature_fail dummy_pub dummy_publisher eauth_acl_module eauth_tokens enable_fqdns_grains
	enable_gpu_grains enable_legacy_startup_events enable_lspci enable_ssh_minions enable_zip_modules
	encryption_algorithm enforce_mine_cache engines engines_dirs env_order environment event_match_type
	event_publisher_niceness event_publisher_pub_hwm event_return event_return_blacklist event_return_niceness
	event_return_queue event_return_queue_max_seconds event_return_whitelist ext_job_cache ext_pillar
	ext_pillar_first extension_modules external_auth extmod_blacklist extmod_whitelist failhard features
	file_buffer_size file_client file_ignore_glob file_ignore_regex file_recv file_recv_max_size file_roots
	fileserver_backend fileserver_events fileserver_followsymlinks fileserver_ignoresymlinks
	fileserver_limit_traversal fileserver_list_cache_time fileserver_update_niceness fileserver_verify_config
	fips_mode gather_job_timeout git_pillar_base git_pillar_branch git_pillar_env git_pillar_fallback
	git_pillar_global_lock git_pillar_includes git_pillar_insecure_auth git_pillar_passphrase git_pillar_password
	git_pillar_privkey git_pillar_provider git_pillar_pubkey git_pillar_refspecs git_pillar_root
	git_pillar_ssl_verify git_pillar_update_interval git_pillar_user git_pillar_verify_config gitfs_base
	gitfs_disable_saltenv_mapping gitfs_env_blacklist gitfs_env_whitelist gitfs_fallback gitfs_global_lock
	gitfs_insecure_auth gitfs_mountpoint gitfs_passphrase gitfs_password gitfs_privkey gitfs_provider gitfs_pubkey
	gitfs_ref_types gitfs_refspecs gitfs_remotes gitfs_root gitfs_saltenv gitfs_saltenv_blacklist
	gitfs_saltenv_whitelist gitfs_ssl_verify gitfs_update_interval gitfs_user global_state_conditions grains
	grains_blacklist grains_cache grains_cache_expiration grains_deep_merge grains_dirs grains_refresh_every
	grains_refresh_pre_exec hash_type hgfs_base hgfs_branch_method hgfs_env_blacklist hgfs_env_whitelist
	hgfs_mountpoint hgfs_remotes hgfs_root hgfs_saltenv_blacklist hgfs_saltenv_whitelist hgfs_update_interval
	http_connect_timeout http_max_body http_request_timeout id include ipc_mode ipc_write_buffer jinja_env
	jinja_lstrip_blocks jinja_sls_env jinja_trim_blocks job_cache job_cache_store_endtime keep_acl_in_token
	keep_jobs keep_jobs_seconds key_cache key_logfile key_pass keysize log_datefmt log_datefmt_console
	log_datefmt_logfile log_fmt_console log_fmt_jid log_fmt_logfile log_granular_levels log_rotate_backup_count
	log_rotate_max_bytes loop_interval maintenance_niceness master_failback_interval master_finger master_id
	master_job_cache master_pubkey_signature master_roots master_shuffle master_sign_key_name master_sign_pubkey
	master_stats master_stats_event_iter master_tops master_tops_first master_tries master_uri_format
	master_use_pubkey_signature max_event_size max_minions memcache_debug memcache_expire_seconds
	memcache_full_cleanup memcache_max_items metaproxy min_extra_mods mine_enabled mine_functions mine_interval
	mine_return_job minimum_auth_version minion_data_cache minion_data_cache_events minion_id_caching
	minion_id_lowercase minion_id_remove_domain minion_pillar_cache minion_restart_command minion_sign_messages
	minionfs_blacklist minionfs_env minionfs_mountpoint minionfs_update_interval minionfs_whitelist module_dirs
	module_executors modules_max_memory multifunc_ordered multiprocessing mworker_niceness mworker_queue_niceness
	netapi_allow_raw_shell netapi_disable_clients netapi_enable_clients nodegroups on_demand_ext_pillar open_mode
	optimization_order order_masters output output_file outputter_dirs password peer peer_run permissive_pki_access
	pillar_cache pillar_cache_backend pillar_cache_ttl pillar_includes_override_sls pillar_merge_lists pillar_opts
	pillar_raise_on_missing pillar_roots pillar_safe_render_error pillar_source_merging_strategy pillar_version
	pillarenv ping_interval ping_on_rotate pki_dir presence_events preserve_minion_cache process_count_max providers
	proxy proxy_always_alive proxy_deep_merge_pillar_in_opts proxy_keep_alive proxy_keep_alive_interval
	proxy_merge_grains_in_module proxy_merge_pillar_in_opts proxy_merge_pillar_in_opts_strategy proxy_mines_pillar
	pub_ret pub_server_niceness publish_session publish_session_eviction_interval publish_signing_algorithm
	publisher_acl publisher_acl_blacklist python2_bin python3_bin queue_dirs random_reauth_delay
	random_startup_delay range_server reactor reactor_niceness reactor_refresh_interval reactor_worker_hwm
	reactor_worker_threads regen_thin rejected_retry render_dirs renderer renderer_blacklist renderer_whitelist
	req_server_niceness request_channel_timeout request_channel_tries request_server_aes_session request_server_ttl
	require_minion_sign_messages rest_cherrypy rest_timeout rest_tornado return return_retry_timer
	return_retry_timer_max return_retry_tries returner_dirs root_dir roots_update_interval roster roster_defaults
	roster_file rosters rotate_aes_key runner_dirs s3fs_update_interval salt_cp_chunk_size salt_event_pub_hwm
	saltenv schedule search search_index_interval serial show_jid show_timeout sign_pub_messages
	sign_remote_message_only signing_algorithm sls_list snapper_states snapper_states_config sock_dir
	source_interface_name source_publish_port source_ret_port sqlite_queue_dir ssh_config_file ssh_ext_alternatives
	ssh_identities_only ssh_list_nodegroups ssh_log_file ssh_merge_pillar ssh_minion_opts ssh_passwd ssh_port
	ssh_pre_flight ssh_priv ssh_run_pre_flight ssh_scan_ports ssh_scan_timeout ssh_sudo ssh_sudo_user ssh_timeout
	ssh_update_roster ssh_use_home_key ssh_user ssl startup_states state_aggregate state_auto_order
	state_compress_ids state_events state_output state_output_diff state_output_pct state_output_profile state_queue
	state_top state_top_saltenv state_verbose states_dirs strip_colors sudo_acl sudo_user svnfs_branches
	svnfs_env_blacklist svnfs_env_whitelist svnfs_mountpoint svnfs_remotes svnfs_root svnfs_saltenv_blacklist
	svnfs_saltenv_whitelist svnfs_tags svnfs_trunk svnfs_update_interval syndic_dir syndic_event_forward_timeout
	syndic_failover syndic_finger syndic_forward_all_events syndic_jid_forward_cache_hwm syndic_log_file
	syndic_master syndic_master_port syndic_max_event_process_time syndic_pidfile syndic_user syndic_wait
	tcp_authentication_retries tcp_master_pub_port tcp_master_publish_pull tcp_master_pull_port tcp_master_workers
	tcp_pub_port tcp_pull_port tcp_reconnect_backoff tcp_reconnect_on_failure test thin_extra_mods thorium_interval
	thorium_roots thorium_roots_update_interval timeout token_dir token_expire token_expire_user_override top_file
	top_file_merging_strategy transport unique_jid update_restart_services update_url use_master_when_local
	use_superseded username utils_dirs vault verify_env verify_master_pubkey_sign whitelist_modules winrepo_branch
	winrepo_cache_expire_max winrepo_cache_expire_min winrepo_cachefile winrepo_dir winrepo_dir_ng winrepo_fallback
	winrepo_insecure_auth winrepo_passphrase winrepo_password winrepo_privkey winrepo_provider winrepo_pubkey
	winrepo_refspecs winrepo_remotes winrepo_remotes_ng winrepo_source_dir winrepo_ssl_verify winrepo_user
	worker_threads zmq_filtering zmq_monitor
`)

// meaningless says so of a key of Salt's. include is worth a word more: whoever uses it expects a file to be read.
func meaningless(key string) string {
	if key == "include" {
		return "is not read by salt-broker, and so no file is included by it; default_include does that"
	}
	return "means something to Salt only and is ignored"
}

// known are all keys that are not refused, those that mean something first.
func known() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	for _, a := range aliases {
		names = append(names, a.name)
	}
	names = append(names, logToFile)
	names = append(names, slices.Sorted(maps.Keys(replaced))...)
	names = append(names, slices.Sorted(maps.Keys(later))...)
	return append(names, foreign...)
}
