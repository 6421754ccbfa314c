// LiveKit's Go SDK and its protocol package against a media server that runs already: LIVEKIT_URL, LIVEKIT_API_KEY,
// LIVEKIT_API_SECRET. It has a webhook to LIVEKIT_WEBHOOK_LISTEN, which is listened on here.
package livekit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/webhook"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/twitchtv/twirp"
)

const patience = 20 * time.Second

var (
	url    = os.Getenv("LIVEKIT_URL")
	key    = os.Getenv("LIVEKIT_API_KEY")
	secret = os.Getenv("LIVEKIT_API_SECRET")
	hooks  = &events{}
)

func TestMain(m *testing.M) {
	if url == "" {
		fmt.Println("LIVEKIT_URL is not set: run by `npm test` in tests/livekit")
		os.Exit(1)
	}
	if listen := os.Getenv("LIVEKIT_WEBHOOK_LISTEN"); listen != "" {
		go func() { panic(http.ListenAndServe(listen, hooks)) }()
	}
	os.Exit(m.Run())
}

// events are the webhooks that came, each checked by LiveKit's own receiver.
type events struct {
	lock sync.Mutex
	all  []*livekit.WebhookEvent
	bad  []error
}

func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := webhook.ReceiveWebhookEvent(r, auth.NewSimpleKeyProvider(key, secret))
	e.lock.Lock()
	defer e.lock.Unlock()
	if err != nil {
		e.bad = append(e.bad, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	e.all = append(e.all, event)
}

func (e *events) of(room string) (kinds []string) {
	e.lock.Lock()
	defer e.lock.Unlock()
	for _, event := range e.all {
		if event.GetRoom().GetName() == room {
			kinds = append(kinds, event.Event)
		}
	}
	return
}

func api() *lksdk.RoomServiceClient {
	return lksdk.NewRoomServiceClient(url, key, secret)
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not within %v: %s", patience, what)
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("not within %v: %s", patience, what)
		panic("unreachable")
	}
}

func join(t *testing.T, room, identity string, callback *lksdk.RoomCallback, options ...lksdk.ConnectOption) *lksdk.Room {
	t.Helper()
	if callback == nil {
		callback = lksdk.NewRoomCallback()
	}
	info := lksdk.ConnectInfo{APIKey: key, APISecret: secret, RoomName: room, ParticipantIdentity: identity}
	joined, err := lksdk.ConnectToRoom(url, info, callback, options...)
	if err != nil {
		t.Fatalf("%s cannot join %s: %v", identity, room, err)
	}
	t.Cleanup(joined.Disconnect)
	return joined
}

// speak publishes Opus until the test ends.
func speak(t *testing.T, room *lksdk.Room) *lksdk.LocalTrackPublication {
	t.Helper()
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	must(t, err)
	publication, err := room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{
		Name: "voice", Source: livekit.TrackSource_MICROPHONE,
	})
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				_ = track.WriteSample(media.Sample{Data: []byte{0xfc, 0xff, 0xfe}, Duration: 20 * time.Millisecond}, nil)
			}
		}
	}()
	return publication
}

func code(err error) twirp.ErrorCode {
	var twerr twirp.Error
	if errors.As(err, &twerr) {
		return twerr.Code()
	}
	return twirp.NoError
}

func TestRoomsAreMadeListedChangedAndDeleted(t *testing.T) {
	rooms, c := api(), ctx(t)
	made, err := rooms.CreateRoom(c, &livekit.CreateRoomRequest{
		Name: "go-rooms", EmptyTimeout: 50, DepartureTimeout: 9, MaxParticipants: 3, Metadata: "first",
	})
	if err != nil || made.EmptyTimeout != 50 || made.DepartureTimeout != 9 || made.MaxParticipants != 3 || made.Metadata != "first" {
		t.Fatalf("not as asked: %v, %v", made, err)
	}
	again, err := rooms.CreateRoom(c, &livekit.CreateRoomRequest{Name: "go-rooms", MaxParticipants: 4})
	if err != nil || again.Sid != made.Sid || again.Metadata != "first" {
		t.Fatalf("not the same room: %v, %v", again, err)
	}
	changed, err := rooms.UpdateRoomMetadata(c, &livekit.UpdateRoomMetadataRequest{Room: "go-rooms", Metadata: "second"})
	if err != nil || changed.Metadata != "second" {
		t.Fatalf("metadata: %v, %v", changed, err)
	}
	listed, err := rooms.ListRooms(c, &livekit.ListRoomsRequest{Names: []string{"go-rooms", "nowhere"}})
	if err != nil || len(listed.Rooms) != 1 || listed.Rooms[0].Metadata != "second" {
		t.Fatalf("list: %v, %v", listed, err)
	}
	if _, err := rooms.DeleteRoom(c, &livekit.DeleteRoomRequest{Room: "go-rooms"}); err != nil {
		t.Fatal(err)
	}
	if _, err := rooms.DeleteRoom(c, &livekit.DeleteRoomRequest{Room: "go-rooms"}); code(err) != twirp.NotFound {
		t.Fatalf("a room that is not there: %v", err)
	}
}

func TestTwoPeopleHearAndWriteToEachOther(t *testing.T) {
	for name, options := range map[string][]lksdk.ConnectOption{
		"two-connections": nil,
		"one-connection":  {lksdk.WithSinglePeerConnection()},
	} {
		t.Run(name, func(t *testing.T) {
			room := "go-" + name
			heard := make(chan string, 1)
			var packets atomic.Int64
			written := make(chan string, 4)
			callback := lksdk.NewRoomCallback()
			callback.OnTrackSubscribed = func(track *webrtc.TrackRemote, publication *lksdk.RemoteTrackPublication, of *lksdk.RemoteParticipant) {
				go func() {
					for {
						if _, _, err := track.ReadRTP(); err != nil {
							return
						}
						if packets.Add(1) == 20 {
							heard <- of.Identity() + " " + publication.Name()
						}
					}
				}()
			}
			callback.OnDataPacket = func(data lksdk.DataPacket, from lksdk.DataReceiveParams) {
				if user, ok := data.(*lksdk.UserDataPacket); ok {
					written <- from.SenderIdentity + ": " + string(user.Payload) + " on " + user.Topic
				}
			}
			join(t, room, "bob", callback, options...)
			alice := join(t, room, "alice", nil, options...)
			publication := speak(t, alice)
			if got := receive(t, "bob hears alice", heard); got != "alice voice" {
				t.Fatalf("heard %q", got)
			}
			for _, options := range [][]lksdk.DataPublishOption{
				{lksdk.WithDataPublishReliable(true), lksdk.WithDataPublishTopic("t")},
				{lksdk.WithDataPublishReliable(true), lksdk.WithDataPublishTopic("t"), lksdk.WithDataPublishDestination([]string{"bob"})},
			} {
				if err := alice.LocalParticipant.PublishDataPacket(lksdk.UserData([]byte("hello")), options...); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, "bob reads", written); got != "alice: hello on t" {
					t.Fatalf("read %q", got)
				}
			}

			rooms, c := api(), ctx(t)
			listed, err := rooms.ListParticipants(c, &livekit.ListParticipantsRequest{Room: room})
			if err != nil || len(listed.Participants) != 2 {
				t.Fatalf("participants: %v, %v", listed, err)
			}
			subscribe := func(subscribe bool) {
				t.Helper()
				_, err := rooms.UpdateSubscriptions(c, &livekit.UpdateSubscriptionsRequest{
					Room: room, Identity: "bob", TrackSids: []string{publication.SID()}, Subscribe: subscribe,
				})
				must(t, err)
			}
			comes := func() bool {
				before := packets.Load()
				time.Sleep(300 * time.Millisecond)
				return packets.Load() > before
			}
			subscribe(false)
			until(t, "bob hears her no more", func() bool { return !comes() })
			subscribe(true)
			until(t, "bob hears her again", comes)
			muted, err := rooms.MutePublishedTrack(c, &livekit.MuteRoomTrackRequest{
				Room: room, Identity: "alice", TrackSid: publication.SID(), Muted: true,
			})
			if err != nil || !muted.Track.Muted {
				t.Fatalf("mute: %v, %v", muted, err)
			}
			until(t, "alice is told that she is muted", publication.IsMuted)
		})
	}
}

func TestTheServerChangesAndRemovesPeople(t *testing.T) {
	rooms, c, room := api(), ctx(t), "go-changes"
	gone := make(chan lksdk.DisconnectionReason, 1)
	data := make(chan string, 1)
	callback := lksdk.NewRoomCallback()
	callback.OnDisconnectedWithReason = func(reason lksdk.DisconnectionReason) { gone <- reason }
	callback.OnDataPacket = func(packet lksdk.DataPacket, _ lksdk.DataReceiveParams) {
		if user, ok := packet.(*lksdk.UserDataPacket); ok {
			data <- string(user.Payload)
		}
	}
	alice := join(t, room, "alice", callback)
	changed, err := rooms.UpdateParticipant(c, &livekit.UpdateParticipantRequest{
		Room: room, Identity: "alice", Name: "Alice", Metadata: "m", Attributes: map[string]string{"a": "1", "b": "2"},
		Permission: &livekit.ParticipantPermission{CanSubscribe: true, CanPublishData: true, CanUpdateMetadata: true},
	})
	if err != nil || changed.Name != "Alice" || changed.Metadata != "m" || changed.Permission.CanPublish {
		t.Fatalf("update: %v, %v", changed, err)
	}
	changed, err = rooms.UpdateParticipant(c, &livekit.UpdateParticipantRequest{
		Room: room, Identity: "alice", Attributes: map[string]string{"a": ""},
	})
	if err != nil || changed.Name != "Alice" || len(changed.Attributes) != 1 || changed.Attributes["b"] != "2" {
		t.Fatalf("an attribute that goes: %v, %v", changed, err)
	}
	until(t, "she is told", func() bool {
		local := alice.LocalParticipant
		return local.Name() == "Alice" && local.Attributes()["b"] == "2" && local.Attributes()["a"] == ""
	})
	alice.LocalParticipant.SetMetadata("her own")
	until(t, "her own metadata", func() bool {
		info, err := rooms.GetParticipant(c, &livekit.RoomParticipantIdentity{Room: room, Identity: "alice"})
		return err == nil && info.Metadata == "her own"
	})
	if _, err = rooms.SendData(c, &livekit.SendDataRequest{Room: room, Data: []byte("from outside")}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "data of the server", data); got != "from outside" {
		t.Fatalf("read %q", got)
	}
	if _, err = rooms.RemoveParticipant(c, &livekit.RoomParticipantIdentity{Room: room, Identity: "alice"}); err != nil {
		t.Fatal(err)
	}
	if reason := receive(t, "she is out", gone); reason != lksdk.ParticipantRemoved {
		t.Fatalf("reason %v", reason)
	}
	_, err = rooms.GetParticipant(c, &livekit.RoomParticipantIdentity{Room: room, Identity: "alice"})
	if code(err) != twirp.NotFound {
		t.Fatalf("somebody who is not there: %v", err)
	}
}

func TestWebhooksComeInOrderAndSigned(t *testing.T) {
	if os.Getenv("LIVEKIT_WEBHOOK_LISTEN") == "" {
		t.Skip("no webhook")
	}
	room := "go-hooks"
	alice := join(t, room, "alice", nil)
	speak(t, alice)
	until(t, "she publishes", func() bool { return slices.Contains(hooks.of(room), "track_published") })
	alice.Disconnect()
	// Two come of a leaving, and either may come first.
	until(t, "she has left, with her track", func() bool {
		got := hooks.of(room)
		return slices.Contains(got, "participant_left") && slices.Contains(got, "track_unpublished")
	})
	if _, err := api().DeleteRoom(ctx(t), &livekit.DeleteRoomRequest{Room: room}); err != nil {
		t.Fatal(err)
	}
	until(t, "the room is over", func() bool { return slices.Contains(hooks.of(room), "room_finished") })
	got := hooks.of(room)
	middle := slices.Sorted(slices.Values(got[3 : len(got)-1]))
	if !slices.Equal(got[:3], []string{"room_started", "participant_joined", "track_published"}) ||
		!slices.Equal(middle, []string{"participant_left", "track_unpublished"}) || got[len(got)-1] != "room_finished" {
		t.Fatalf("order: %v", got)
	}
	hooks.lock.Lock()
	defer hooks.lock.Unlock()
	if len(hooks.bad) > 0 {
		t.Fatalf("not signed as LiveKit signs: %v", hooks.bad)
	}
}

func TestWhatIsNotThereIsToldSo(t *testing.T) {
	rooms, c := api(), ctx(t)
	if _, err := lksdk.NewEgressClient(url, key, secret).ListEgress(c, &livekit.ListEgressRequest{}); code(err) != twirp.Internal {
		t.Fatalf("egress: %v", err)
	}
	_, err := rooms.GetParticipant(c, &livekit.RoomParticipantIdentity{Room: "go-nowhere", Identity: "nobody"})
	if code(err) != twirp.NotFound {
		t.Fatalf("nobody: %v", err)
	}
	stranger := lksdk.NewRoomServiceClient(url, key, "another-secret-of-more-than-32-characters")
	if _, err := stranger.ListRooms(c, &livekit.ListRoomsRequest{}); err == nil {
		t.Fatal("a stranger lists rooms")
	}
	answer, err := http.Get("http" + url[len("ws"):])
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "OK" {
		t.Fatalf("health: %q", body)
	}
}

func TestTheServerCallsAMethodOfAParticipant(t *testing.T) {
	room := "go-rpc"
	alice := join(t, room, "alice", nil)
	err := alice.RegisterRpcMethod("greet", func(call lksdk.RpcInvocationData) (string, error) {
		if call.Payload == "wrong" {
			return "", &lksdk.RpcError{Code: 4711, Message: "not so", Data: &call.Payload}
		}
		return "hello " + call.Payload, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "she can be reached", func() bool {
		info, err := api().GetParticipant(ctx(t), &livekit.RoomParticipantIdentity{Room: room, Identity: "alice"})
		return err == nil && info.State == livekit.ParticipantInfo_ACTIVE
	})
	dispatch := lksdk.NewAgentDispatchServiceClient(url, key, secret)
	made, err := dispatch.CreateDispatch(ctx(t), &livekit.CreateAgentDispatchRequest{Room: room, AgentName: "helper"})
	if err != nil || made.AgentName != "helper" {
		t.Fatalf("dispatch: %v, %v", made, err)
	}
	client := livekit.NewRoomServiceProtobufClient("http"+url[len("ws"):], http.DefaultClient)
	token, err := auth.NewAccessToken(key, secret).SetVideoGrant(&auth.VideoGrant{RoomAdmin: true, Room: room}).ToJWT()
	must(t, err)
	header := make(http.Header)
	header.Set("Authorization", "Bearer "+token)
	c, err := twirp.WithHTTPRequestHeaders(ctx(t), header)
	must(t, err)
	call := func(method, payload string) (string, error) {
		answer, err := client.PerformRpc(c, &livekit.PerformRpcRequest{
			Room: room, DestinationIdentity: "alice", Method: method, Payload: payload, ResponseTimeoutMs: 5000,
		})
		return answer.GetPayload(), err
	}
	if answer, err := call("greet", "world"); err != nil || answer != "hello world" {
		t.Fatalf("%q, %v", answer, err)
	}
	if _, err := call("greet", "wrong"); code(err) != twirp.Internal {
		t.Fatalf("its error: %v", err)
	}
	if _, err := call("nothing", ""); code(err) != twirp.InvalidArgument {
		t.Fatalf("no such method: %v", err)
	}
}
