PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES('0007');
CREATE TABLE accounts (
	name VARCHAR(64) NOT NULL, 
	parent VARCHAR(64) DEFAULT '' NOT NULL, 
	ha1_md5 VARCHAR(32) DEFAULT '' NOT NULL, 
	ha1_sha256 VARCHAR(64) DEFAULT '' NOT NULL, 
	realm VARCHAR(255) DEFAULT '' NOT NULL, 
	caller_id VARCHAR(32) DEFAULT '' NOT NULL, 
	enabled BOOLEAN DEFAULT 1 NOT NULL, 
	legacy_digest BOOLEAN DEFAULT 0 NOT NULL, 
	created_at DOUBLE NOT NULL, 
	version INTEGER NOT NULL, presence BOOLEAN DEFAULT 1 NOT NULL, copies BOOLEAN DEFAULT 0 NOT NULL, bulk BOOLEAN DEFAULT 0 NOT NULL, shorteners BOOLEAN DEFAULT 0 NOT NULL, api_hash VARCHAR(64) DEFAULT '' NOT NULL, api_allow_ip VARCHAR(1024) DEFAULT '' NOT NULL, email VARCHAR(255) DEFAULT '' NOT NULL, reseller VARCHAR(64) DEFAULT '' NOT NULL, app_messages BOOLEAN DEFAULT 0 NOT NULL, api_daily_limit INTEGER, smpp_rate INTEGER, api_fields TEXT DEFAULT '{}' NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO accounts VALUES('demo','','ac606a0a5a8b8485740e7eeffb4b5939','1d615426a090fbe22a01f78e75f62ccc74c2a14cef274b665f3297955b89b72c','sipsms.example','5550001111',1,0,1795894494.307559967,2,1,0,0,0,'6daa0e8bd41b06eeee3cece369ad8b12ad0800ce1441c967b92f44900c89c84a','','','',0,NULL,NULL,'{}');
INSERT INTO accounts VALUES('alice','demo','3ca7d618590fba9bc6a493c977496238','3c6e08204000bcd7b30a8ae59489e4a16c2c45a34390b7534873a238d904bb7f','sipsms.example','5550001111',1,0,1795894494.307559967,1,1,0,0,0,'','','','',0,NULL,NULL,'{}');
INSERT INTO accounts VALUES('bob','demo','6621d4afa76efd2ea99d2d5f012f9842','34ab75fe4a5979096598dc5cbf45e8abfeda412f5b35b656adefb0be96ae53bb','sipsms.example','5550002222',1,0,1795894494.307559967,1,1,0,0,0,'','','','',0,NULL,NULL,'{}');
INSERT INTO accounts VALUES('101','demo','6aee820e4e62959df29a88040235b461','c6092ed069d8a55d00f5b2b812198dc70dbb91e87e7fab5a9fc49165d632135a','sipsms.example','',1,0,1795894548.328701496,7,1,0,0,0,'','','','',0,NULL,NULL,'{}');
CREATE TABLE attempts (
	delivery_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	outcome VARCHAR(10) DEFAULT '' NOT NULL, 
	detail VARCHAR(255) DEFAULT '' NOT NULL, 
	PRIMARY KEY (delivery_id, number)
)
 WITHOUT ROWID

;
INSERT INTO attempts VALUES(1,1,1795894498.1559076309,1795894498.1719489097,'delivered','200 OK');
INSERT INTO attempts VALUES(2,1,1795894498.6549570561,1795894498.6625699996,'delivered','simulated handset');
INSERT INTO attempts VALUES(3,1,1795894502.4019203186,1795894502.4096014499,'delivered','200 OK');
INSERT INTO attempts VALUES(4,1,1795894502.6805827618,1795894502.7043952941,'accepted','');
INSERT INTO attempts VALUES(5,1,1795894502.6937789917,1795894502.7070159911,'delivered','200 OK');
INSERT INTO attempts VALUES(6,1,1795894502.7956624031,1795894502.8062946796,'accepted','');
INSERT INTO attempts VALUES(7,1,1795894504.1969556808,1795894504.2072653771,'delivered','200 OK');
INSERT INTO attempts VALUES(8,1,1795894505.7250225544,1795894505.7417166232,'accepted','');
INSERT INTO attempts VALUES(9,1,1795894506.5034153461,1795894506.5068640708,'delivered','200 OK');
INSERT INTO attempts VALUES(10,1,1795894507.3266601562,1795894507.3346550464,'accepted','');
INSERT INTO attempts VALUES(11,1,1795894507.3299994468,1795894507.335370779,'delivered','200 OK');
INSERT INTO attempts VALUES(12,1,1795894508.0984244347,1795894508.1080710888,'delivered','simulated handset');
INSERT INTO attempts VALUES(13,1,1795894508.1117596625,1795894508.1145157814,'delivered','');
INSERT INTO attempts VALUES(14,1,1795894508.1309375763,1795894508.1340894698,'accepted','');
INSERT INTO attempts VALUES(15,1,1795894508.1330087184,1795894508.1353750229,'delivered','200 OK');
INSERT INTO attempts VALUES(16,1,1795894508.1330087184,1795894508.1360430717,'delivered','');
CREATE TABLE carriers (
	name VARCHAR(64) NOT NULL, 
	paused BOOLEAN DEFAULT 0 NOT NULL, polled_at DOUBLE DEFAULT '0' NOT NULL, status TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO carriers VALUES('voipms',0,1795894493.8320348262,'{"state": "up", "why": "", "rate": 0.0, "counts": {}, "at": 1795894493.8604589}');
INSERT INTO carriers VALUES('sim',0,0.0,'{"state": "up", "why": "", "rate": 0.3, "counts": {"delivered": 1, "accepted": 2}, "at": 1795894503.8710973}');
CREATE TABLE counters (
	name VARCHAR(40) NOT NULL, 
	value INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO counters VALUES('device',2);
INSERT INTO counters VALUES('directory',9);
INSERT INTO counters VALUES('message',19);
INSERT INTO counters VALUES('delivery',24);
CREATE TABLE deliveries (
	id INTEGER NOT NULL, 
	message_id INTEGER NOT NULL, 
	courier VARCHAR(64) NOT NULL, 
	destination VARCHAR(64) NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	device INTEGER DEFAULT '0' NOT NULL, 
	lane VARCHAR(160) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	due_at DOUBLE, 
	expires_at DOUBLE NOT NULL, 
	created_at DOUBLE NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	lease_owner VARCHAR(64) DEFAULT '' NOT NULL, 
	lease_until DOUBLE DEFAULT '0' NOT NULL, 
	remote_id VARCHAR(128) DEFAULT '' NOT NULL, 
	last_error VARCHAR(255) DEFAULT '' NOT NULL, 
	others VARCHAR(512) DEFAULT '' NOT NULL, 
	open BOOLEAN DEFAULT 0 NOT NULL, text_start INTEGER DEFAULT '0' NOT NULL, text_end INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO deliveries VALUES(1,1,'sip','alice','4445556666',1,'sip:1','delivered',1,NULL,1797104098.0842003821,1795894498.0842003822,1795894498.1719489097,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(2,2,'carrier:sim','4445556666','5550001111',0,'carrier:sim/5550001111/4445556666','delivered',1,NULL,1797104098.654957056,1795894498.6549570561,1795894498.6625699996,'vm',0.0,'','simulated handset','',0,0,0);
INSERT INTO deliveries VALUES(3,3,'sip','alice','4445556666',1,'sip:1','delivered',1,NULL,1797104102.3035933971,1795894502.3035933971,1795894502.4096014499,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(4,4,'carrier:sim','5550002222','5550001111',0,'carrier:sim/5550001111/5550002222','accepted',1,NULL,1797104102.6805827617,1795894502.6805827618,1795894502.7043952941,'vm',0.0,'sim-4','','',0,0,0);
INSERT INTO deliveries VALUES(5,5,'sip','bob','5550001111',2,'sip:2','delivered',1,NULL,1797104102.6937789917,1795894502.6937789917,1795894502.7070159911,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(6,6,'carrier:sim','5550002222','5550001111',0,'carrier:sim/5550001111/5550002222','accepted',1,NULL,1797104102.795662403,1795894502.7956624031,1795894502.8062946796,'vm',0.0,'sim-6','','',0,0,0);
INSERT INTO deliveries VALUES(7,7,'sip','bob','5550001111',2,'sip:2','delivered',1,NULL,1797104102.797599554,1795894502.7975995541,1795894504.2072653771,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(8,8,'carrier:voipms','6045550100','5550001111',0,'carrier:voipms/5550001111/6045550100','accepted',1,NULL,1797104105.7250225544,1795894505.7250225544,1795894505.7417166232,'vm',0.0,'sms:1795894489','','',0,0,0);
INSERT INTO deliveries VALUES(9,9,'sip','alice','6045550100',1,'sip:1','delivered',1,NULL,1797104106.5034153461,1795894506.5034153461,1795894506.5068640708,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(10,10,'carrier:sim','5550002222','5550001111',0,'carrier:sim/5550001111/5550002222','accepted',1,NULL,1797104107.3266601562,1795894507.3266601562,1795894507.3346550464,'vm',0.0,'sim-10','','',0,0,0);
INSERT INTO deliveries VALUES(11,11,'sip','bob','5550001111',2,'sip:2','delivered',1,NULL,1797104107.3299994469,1795894507.3299994468,1795894507.335370779,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(12,12,'carrier:sim','4445556666','5550001111',0,'carrier:sim/5550001111/4445556666','delivered',1,NULL,1797104108.0984244346,1795894508.0984244347,1795894508.1080710888,'vm',0.0,'','simulated handset','',0,0,0);
INSERT INTO deliveries VALUES(13,13,'smpp','5550001111','4445556666',0,'smpp/5550001111~13','delivered',1,NULL,1797104108.1117596626,1795894508.1117596625,1795894508.1145157814,'vm',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(14,14,'carrier:sim','5550001111','5550002222',0,'carrier:sim/5550002222/5550001111','accepted',1,NULL,1797104108.1309375763,1795894508.1309375763,1795894508.1340894698,'vm',0.0,'sim-14','','',0,0,0);
INSERT INTO deliveries VALUES(15,15,'sip','alice','5550002222',1,'sip:1','delivered',1,NULL,1797104108.1330087185,1795894508.1330087184,1795894508.1353750229,'vm',0.0,'','200 OK','',0,0,0);
INSERT INTO deliveries VALUES(16,15,'smpp','5550001111','5550002222',0,'smpp/5550001111','delivered',1,NULL,1797104108.1330087185,1795894508.1330087184,1795894508.1360430717,'vm',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(17,16,'sip','demo','4445556666',0,'sip/demo','queued',0,NULL,1797104150.7540137767,1795894550.7540137767,1795894550.7540137767,'',0.0,'','','',1,0,0);
INSERT INTO deliveries VALUES(18,16,'mail','a@example.net','4445556666',0,'mail/a@example.net','queued',0,1795894550.7540137767,1796326550.7540137767,1795894550.7540137767,1795894550.7540137767,'',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(19,16,'callback','5550003333','4445556666',0,'callback/5550003333','queued',0,1795894550.7540137767,1796153750.7540137767,1795894550.7540137767,1795894550.7540137767,'',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(20,16,'webhook','5550003333','4445556666',0,'webhook/5550003333','queued',0,1795894550.7540137767,1796240150.7540137768,1795894550.7540137767,1795894550.7540137767,'',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(21,16,'forward','6045550100','5550003333',0,'forward/6045550100','queued',0,1795894550.7540137767,1797104150.7540137767,1795894550.7540137767,1795894550.7540137767,'',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(22,17,'sip','101','4445556666',0,'sip/101','queued',0,NULL,1797104151.8544828892,1795894551.8544828891,1795894551.8544828891,'',0.0,'','','',1,0,0);
INSERT INTO deliveries VALUES(23,18,'carrier:voipms','6045550100','5550001111',0,'carrier:voipms/5550001111/6045550100','queued',0,1795894553.0019476414,1797104153.0019476413,1795894553.0019476414,1795894553.0019476414,'',0.0,'','','',0,0,0);
INSERT INTO deliveries VALUES(24,19,'carrier:voipms','6045550100','5550001111',0,'carrier:voipms/5550001111/6045550100@1798794000','queued',0,1798794000.0,1800003600.0,1795894554.6630926131,1795894554.6630926131,'',0.0,'','','',0,0,0);
CREATE TABLE devices (
	id INTEGER NOT NULL, 
	aor VARCHAR(64) NOT NULL, 
	"key" VARCHAR(1024) NOT NULL, 
	user_agent VARCHAR(255) DEFAULT '' NOT NULL, 
	first_seen DOUBLE NOT NULL, 
	last_seen DOUBLE NOT NULL, 
	stable BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO devices VALUES(1,'alice','<urn:uuid:00000000-0000-4000-8000-00000000a11c>','',1795894494.7878363132,1795894494.7878363132,1);
INSERT INTO devices VALUES(2,'bob','<urn:uuid:00000000-0000-4000-8000-000000000b0b>','',1795894494.8078880309,1795894504.1825568675,1);
CREATE TABLE did_targets (
	id INTEGER NOT NULL, 
	did VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	target TEXT NOT NULL, 
	options TEXT DEFAULT '{}' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO did_targets VALUES(1,'5550001111','smpp','','{"username": "play", "password": "7c98a1cf", "enabled": false}');
INSERT INTO did_targets VALUES(2,'5550003333','email','a@example.net','{}');
INSERT INTO did_targets VALUES(3,'5550003333','forward','6045550100','{}');
INSERT INTO did_targets VALUES(4,'5550003333','callback','https://app.example.net/sms?from={FROM}&to={TO}&text={MESSAGE}&id={ID}','{}');
INSERT INTO did_targets VALUES(5,'5550003333','webhook','https://app.example.net/hook','{}');
CREATE TABLE dids (
	number VARCHAR(32) NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	sip_account VARCHAR(64) DEFAULT '' NOT NULL, 
	sms BOOLEAN DEFAULT 1 NOT NULL, 
	mms BOOLEAN DEFAULT 1 NOT NULL, 
	dialing_mode VARCHAR(8) DEFAULT '' NOT NULL, 
	created_at DOUBLE NOT NULL, 
	version INTEGER NOT NULL, sms_paused BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO dids VALUES('5550001111','demo','alice',1,1,'',1795894494.307559967,4,0);
INSERT INTO dids VALUES('5550002222','demo','bob',1,1,'',1795894494.307559967,1,0);
INSERT INTO dids VALUES('5550003333','demo','demo',1,1,'',1795894534.8441150188,6,0);
INSERT INTO dids VALUES('5550004444','demo','101',1,1,'',1795894548.9848706721,9,0);
CREATE TABLE group_members (
	group_name VARCHAR(64) NOT NULL, 
	member VARCHAR(64) NOT NULL, 
	PRIMARY KEY (group_name, member)
);
CREATE TABLE groups (
	name VARCHAR(64) NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE messages (
	id INTEGER NOT NULL, 
	direction VARCHAR(3) NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	destination VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	origin VARCHAR(64) DEFAULT '' NOT NULL, 
	account VARCHAR(64) DEFAULT '' NOT NULL, 
	did VARCHAR(32) DEFAULT '' NOT NULL, 
	received_at DOUBLE NOT NULL, 
	expires_at DOUBLE, 
	dedupe_key BLOB, 
	remote_id VARCHAR(128) DEFAULT '' NOT NULL, content_type VARCHAR(127) DEFAULT '' NOT NULL, device INTEGER DEFAULT '0' NOT NULL, notify VARCHAR(255) DEFAULT '' NOT NULL, media TEXT DEFAULT '' NOT NULL, hidden BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_messages_dedupe_key UNIQUE (dedupe_key)
);
INSERT INTO messages VALUES(1,'in','4445556666','5550001111','Are you there? (19:34:54)','cli','demo','5550001111',1795894498.0841495991,NULL,NULL,'','',0,'','',0);
INSERT INTO messages VALUES(2,'out','5550001111','4445556666','On my way. (19:34:54)','sip','alice','5550001111',1795894498.6549170017,NULL,X'01a223a75552430f4d9c61e0e944bff6','','',0,'','',0);
INSERT INTO messages VALUES(3,'in','4445556666','5550001111','See you soon! (19:34:54)','cli','demo','5550001111',1795894502.3035421371,NULL,NULL,'','',0,'','',0);
INSERT INTO messages VALUES(4,'out','5550001111','5550002222','Bob, it is alice. (19:34:54)','sip','alice','5550001111',1795894502.6805348396,NULL,X'01a223a765171061ceaeadaa7eea42a3','','',0,'','',0);
INSERT INTO messages VALUES(5,'in','5550001111','5550002222','Bob, it is alice. (19:34:54)','carrier:sim','demo','5550002222',1795894502.6937265396,NULL,X'0499538826d1ab757ce47cdf1e1c4b7fe4722859','sim-4','',0,'','',0);
INSERT INTO messages VALUES(6,'out','5550001111','5550002222','Call me when you are back. (19:34:54)','sip','alice','5550001111',1795894502.7956249714,NULL,X'01a223a7658b0c10badb47c62d621930','','',0,'','',0);
INSERT INTO messages VALUES(7,'in','5550001111','5550002222','Call me when you are back. (19:34:54)','carrier:sim','demo','5550002222',1795894502.7975564002,NULL,X'c3d89ce1ba18d8c749e356752fa14503b36b1183','sim-6','',0,'','',0);
INSERT INTO messages VALUES(8,'out','5550001111','6045550100','Hello, Vancouver. (19:34:54)','sip','alice','5550001111',1795894505.7249777317,NULL,X'01a223a770fcc5bf3c0f5d340010b124','','',0,'','',0);
INSERT INTO messages VALUES(9,'in','6045550100','5550001111','Hello from far away. (19:34:54)','hook:voipms','demo','5550001111',1795894506.5033414364,NULL,X'40b158b7c36c0acbeaf1542cb27055257ae94026','1795894490','',0,'','',0);
INSERT INTO messages VALUES(10,'out','5550001111','5550002222','Sent by a program. (19:34:54)','rest','demo','5550001111',1795894507.3266010284,NULL,NULL,'','',0,'','',0);
INSERT INTO messages VALUES(11,'in','5550001111','5550002222','Sent by a program. (19:34:54)','carrier:sim','demo','5550002222',1795894507.3299539089,NULL,X'358ba5a9ae43dfc1af893a75d65e5d83b972df1a','sim-10','',0,'','',0);
INSERT INTO messages VALUES(12,'out','5550001111','4445556666','Sent by SMPP. (19:34:54)','smpp','demo','5550001111',1795894508.0983712672,NULL,NULL,'','',0,'','',0);
INSERT INTO messages VALUES(13,'in','4445556666','5550001111','{"id": "12", "parts": [], "stage": "delivered", "submitted": 1795894508.0983713, "done": 1795894508.1116853, "source": "5550001111", "source_ton": 0, "source_npi": 0, "destination": "4445556666", "dest_ton": 0, "dest_npi": 0, "text": "Sent by SMPP. (19:34"}','status','demo','5550001111',1795894508.111685276,NULL,X'8c66241b1465f3386e761d034ae752b606f8cb39','','application/x-sipsms-smpp-receipt+json',0,'','',0);
INSERT INTO messages VALUES(14,'out','5550002222','5550001111','Well received. (19:34:54)','sip','bob','5550002222',1795894508.1308982372,NULL,X'01a223a77a622573f962cb9e27938ff7','','',0,'','',0);
INSERT INTO messages VALUES(15,'in','5550002222','5550001111','Well received. (19:34:54)','carrier:sim','demo','5550001111',1795894508.1329534054,NULL,X'da935bea9d53e598bade1e35c51837c4817a797a','sim-14','',0,'','',0);
INSERT INTO messages VALUES(16,'in','4445556666','5550003333','To all destinations','cli','demo','5550003333',1795894550.7539560795,NULL,NULL,'','',0,'','',0);
INSERT INTO messages VALUES(17,'in','4445556666','5550004444','For a phone that never registered','cli','demo','5550004444',1795894551.8544287681,NULL,NULL,'','',0,'','',0);
INSERT INTO messages VALUES(18,'out','5550001111','6045550100','A picture','cli','demo','5550001111',1795894553.0018792152,NULL,NULL,'','',0,'','[["image/png", "a.png", 70, "w69CDBHXkay513ybBX5Ug-VVXXWqAIXD", ""]]',0);
INSERT INTO messages VALUES(19,'out','5550001111','6045550100','Held until the new year','cli','demo','5550001111',1795894554.6630430221,NULL,NULL,'','',0,'','',0);
CREATE TABLE tokens (
	id INTEGER NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	scope VARCHAR(64) NOT NULL, 
	created_at DOUBLE NOT NULL, expires_at DOUBLE, version INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_tokens_hash UNIQUE (hash)
);
CREATE TABLE provisions (
	hash VARCHAR(64) NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	sealed BLOB NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	fetches_left INTEGER NOT NULL, 
	PRIMARY KEY (hash)
);
CREATE TABLE bindings (
	aor VARCHAR(64) NOT NULL, 
	contact VARCHAR(1024) NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	call_id VARCHAR(512) NOT NULL, 
	cseq INTEGER NOT NULL, 
	received VARCHAR(128) NOT NULL, 
	path TEXT NOT NULL, 
	params TEXT NOT NULL, 
	q DOUBLE NOT NULL, 
	instance VARCHAR(255) DEFAULT '' NOT NULL, 
	reg_id INTEGER DEFAULT '0' NOT NULL, 
	user_agent VARCHAR(255) DEFAULT '' NOT NULL, 
	accept VARCHAR(1024) DEFAULT '' NOT NULL, 
	flow INTEGER DEFAULT '0' NOT NULL, 
	node VARCHAR(64) DEFAULT '' NOT NULL, 
	local VARCHAR(128) DEFAULT '' NOT NULL, 
	to_uri VARCHAR(1024) DEFAULT '' NOT NULL, 
	device INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (aor, contact, instance, reg_id)
)
 WITHOUT ROWID

;
CREATE TABLE secrets (
	name VARCHAR(40) NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO secrets VALUES('trunks',X'dd469071b3d4a50c29fc289500ac535b8f2daf482aacefda9d6b5a2863eec86b');
INSERT INTO secrets VALUES('tags',X'9eda5433e63d8fe52d527e8e7d7f2c1b2932123514c0af7c74b01b6246be2385');
CREATE TABLE blocks (
	owner VARCHAR(64) NOT NULL, 
	number VARCHAR(64) NOT NULL, 
	direction VARCHAR(3) NOT NULL, 
	reason VARCHAR(255) DEFAULT '' NOT NULL, 
	active BOOLEAN DEFAULT 1 NOT NULL, 
	created_at DOUBLE NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (owner, number, direction)
);
CREATE TABLE parts (
	carrier VARCHAR(64) NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	destination VARCHAR(64) NOT NULL, 
	reference VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	remote_id VARCHAR(128) DEFAULT '' NOT NULL, 
	received_at DOUBLE NOT NULL, 
	joined BOOLEAN DEFAULT 0 NOT NULL, account VARCHAR(64) DEFAULT '' NOT NULL, expires_at DOUBLE, 
	PRIMARY KEY (carrier, source, destination, reference, number)
);
CREATE TABLE api_usage (
	account VARCHAR(64) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	sends INTEGER NOT NULL, 
	PRIMARY KEY (account, day)
);
INSERT INTO api_usage VALUES('demo','2026-11-28',1);
CREATE TABLE push_tokens (
	account VARCHAR(64) NOT NULL, 
	selector VARCHAR(255) NOT NULL, 
	app VARCHAR(255) NOT NULL, 
	token VARCHAR(1024) NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	PRIMARY KEY (account, selector)
);
CREATE TABLE receipts (
	remote_id VARCHAR(128) NOT NULL, 
	courier VARCHAR(64) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	detail VARCHAR(255) DEFAULT '' NOT NULL, 
	received_at DOUBLE NOT NULL, 
	opt_out BOOLEAN DEFAULT 0 NOT NULL, 
	recipient VARCHAR(64) DEFAULT '' NOT NULL, 
	sender VARCHAR(64) DEFAULT '' NOT NULL, 
	other BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (remote_id, courier, state, recipient, sender)
);
CREATE TABLE smpp_binds (
	node VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	direction VARCHAR(3) NOT NULL, 
	name VARCHAR(64) DEFAULT '' NOT NULL, 
	account VARCHAR(64) DEFAULT '' NOT NULL, 
	peer VARCHAR(255) DEFAULT '' NOT NULL, 
	mode VARCHAR(16) DEFAULT '' NOT NULL, 
	tls BOOLEAN DEFAULT 0 NOT NULL, 
	state VARCHAR(16) DEFAULT '' NOT NULL, 
	since DOUBLE NOT NULL, 
	sent INTEGER DEFAULT '0' NOT NULL, 
	received INTEGER DEFAULT '0' NOT NULL, 
	why VARCHAR(255) DEFAULT '' NOT NULL, 
	PRIMARY KEY (node, number)
);
CREATE TABLE smpp_heard (
	name VARCHAR(80) NOT NULL, 
	at DOUBLE NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO smpp_heard VALUES('smpp',1795894510.3709833622);
CREATE INDEX ix_accounts_parent ON accounts (parent);
CREATE INDEX ix_accounts_version ON accounts (version);
CREATE INDEX ix_deliveries_courier_due_at ON deliveries (courier, due_at) WHERE state = 'queued';
CREATE INDEX ix_deliveries_destination ON deliveries (destination) WHERE open = 1;
CREATE INDEX ix_deliveries_expires_at ON deliveries (expires_at) WHERE state = 'queued';
CREATE INDEX ix_deliveries_lane_id ON deliveries (lane, id) WHERE state IN ('queued', 'sending');
CREATE INDEX ix_deliveries_message_id ON deliveries (message_id);
CREATE INDEX ix_deliveries_sending ON deliveries (lease_owner) WHERE state = 'sending';
CREATE INDEX ix_deliveries_unclaimed ON deliveries (id) WHERE state = 'queued' AND lease_owner = '';
CREATE INDEX ix_devices_aor ON devices (aor);
CREATE INDEX ix_devices_last_seen ON devices (last_seen);
CREATE INDEX ix_did_targets_did ON did_targets (did);
CREATE INDEX ix_dids_account ON dids (account);
CREATE INDEX ix_dids_version ON dids (version);
CREATE INDEX ix_messages_did_id ON messages (did, id);
CREATE INDEX ix_tokens_account ON tokens (account);
CREATE INDEX ix_messages_notify ON messages (id) WHERE notify <> '';
CREATE INDEX ix_provisions_account ON provisions (account);
CREATE INDEX ix_deliveries_remote_id ON deliveries (remote_id) WHERE remote_id <> '';
CREATE INDEX ix_deliveries_unknown ON deliveries (id) WHERE state = 'unknown';
CREATE INDEX ix_deliveries_dead ON deliveries (id) WHERE courier IN ('callback', 'webhook', 'mail') AND state IN ('failed', 'expired');
CREATE INDEX ix_blocks_version ON blocks (version);
CREATE INDEX ix_parts_received_at ON parts (received_at);
CREATE INDEX ix_tokens_version ON tokens (version);
CREATE INDEX ix_deliveries_app ON deliveries (destination, id) WHERE courier = 'app';
CREATE INDEX ix_parts_open ON parts (carrier, source, destination, reference, received_at) WHERE joined = 0;
CREATE INDEX ix_receipts_received_at ON receipts (received_at);
CREATE INDEX ix_receipts_recipient ON receipts (recipient, courier) WHERE recipient <> '';
CREATE INDEX ix_did_targets_smpp ON did_targets (did) WHERE kind = 'smpp';
COMMIT;
