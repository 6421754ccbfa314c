// plugNmeet's own SDK creates, fills and ends a room.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import sdkModule from "plugnmeet-sdk-js";
import { launch } from "../../peers/launch.mjs";
import { join } from "../lib/participant.mjs";

const { PlugNmeet } = sdkModule;

let server;
let sdk;
before(async () => {
  server = await launch();
  sdk = new PlugNmeet(server.url, server.apiKey.key, server.apiKey.secret);
});
after(() => server?.close());

const FEATURES = {
  allow_webcams: true,
  mute_on_start: false,
  allow_screen_share: true,
  allow_rtmp: true,
  admin_only_webcams: false,
  allow_view_other_webcams: true,
  allow_view_other_users_list: true,
  room_duration: 0,
  enable_analytics: false,
  allow_virtual_bg: true,
  allow_raise_hand: true,
  recording_features: { is_allow: true, is_allow_cloud: true, is_allow_local: true, enable_auto_cloud_recording: false },
  chat_features: { allow_chat: true, allow_file_upload: true },
};

test("the SDK creates, fills and ends a room", async () => {
  const roomId = "sdk-room";
  const none = await sdk.isRoomActive({ room_id: roomId });
  assert.equal(none.status, true);
  assert.ok(!none.is_active);

  const created = await sdk.createRoom({
    room_id: roomId,
    max_participants: 10,
    metadata: { room_title: "From the SDK", welcome_message: "Welcome", room_features: FEATURES },
  });
  assert.equal(created.status, true, created.msg);
  assert.equal(created.room_info?.room_id ?? created.roomInfo?.room_id, roomId);

  const people = [];
  for (const [user_id, is_admin] of [["teacher", true], ["pupil", false]]) {
    const answer = await sdk.getJoinToken({ room_id: roomId, user_info: { name: user_id, user_id, is_admin, is_hidden: false } });
    assert.equal(answer.status, true, answer.msg);
    people.push(await join(server, answer.token));
  }
  await people[0].hears("USER_JOINED", ({ msg }) => JSON.parse(msg).user_id === "pupil");

  const active = await sdk.isRoomActive({ room_id: roomId });
  assert.equal(active.is_active, true);
  const info = await sdk.getActiveRoomInfo({ room_id: roomId });
  assert.equal(info.status, true, info.msg);
  const all = await sdk.getActiveRoomsInfo();
  assert.equal(all.status, true, all.msg);

  const ended = await sdk.endRoom({ room_id: roomId });
  assert.equal(ended.status, true, ended.msg);
  for (const one of people) {
    await one.hears("SESSION_ENDED");
    await one.close();
  }
  const over = await sdk.isRoomActive({ room_id: roomId });
  assert.ok(!over.is_active);

  // The history is written when the last messages are out.
  let past;
  for (const end = Date.now() + 30_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 200))) {
    past = await sdk.fetchPastRoomsInfo({ room_ids: [roomId], from: 0, limit: 5, order_by: "DESC" });
    if (past.status) break;
  }
  assert.equal(past.status, true, past.msg);
  const [run] = past.result.rooms_list;
  assert.equal(run.room_title, "From the SDK");
  assert.equal(Number(run.joined_participants), 2);
});
